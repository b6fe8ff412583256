"""Pure planning core: a snapshot of the world in, a plan, moves and one safe step out.

No I/O (but the package's own data, read once), no clock, no randomness, no logging, no Kubernetes.
"""
