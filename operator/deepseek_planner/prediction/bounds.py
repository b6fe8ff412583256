"""What no engine can beat, whatever was fitted: every token reads the weights that it passes through."""

from __future__ import annotations

from deepseek_planner.prediction.architecture import attention_parameters
from deepseek_planner.prediction.formats import formats
from deepseek_planner.prediction.runs import Run
from deepseek_planner.prediction.systems import system

TOKENS_PER_STEP = 4.0
"""Most that a step with drafts yields: DeepSeek's scripts draft three (nvidia-master.yaml of InferenceX @1cb92d21)."""


def least_tpot_s(run: Run) -> float:
    """Seconds to read, at the full bandwidth of all ranks, the weights that one token passes through.

    Raises ValueError when the system or the precision is not known.
    """
    facts, stored = system(run.system), formats(run.architecture, run.precision)
    hidden, moved = run.architecture.hidden, 0.0
    for group in run.architecture.groups:
        network = group.network
        width = network.intermediate + network.shared_intermediate
        layer = attention_parameters(group.attention, hidden) * stored.bytes_of(stored.attention)
        layer += 3.0 * hidden * width * stored.bytes_of(stored.dense)
        layer += 3.0 * hidden * network.top_k * network.expert_intermediate * stored.bytes_of(stored.experts)
        moved += group.count * layer
    per_step = moved / run.sharding.ranks / facts.bandwidth_bytes_per_s
    return per_step / TOKENS_PER_STEP if run.harness.drafted else per_step
