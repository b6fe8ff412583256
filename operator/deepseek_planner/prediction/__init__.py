"""Predictions of latency and throughput: operations -> step times -> continuous batching -> measured corrections.

``architecture`` and ``systems`` hold facts, ``operations`` turns them into a step time per rank, ``batching`` into
TTFT and TPOT under load, ``corrections`` ties both to measured runs, and ``predictor`` is what callers use.
"""
