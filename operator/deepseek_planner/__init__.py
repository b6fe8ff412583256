"""Pure planning core: a snapshot of the world in, a plan, moves and one safe step out.

No I/O (but the package's own data, read once), no clock, no randomness, no logging, no Kubernetes.

Values that stay inside are named tuples where nothing speaks for a dataclass: to make a frozen one takes half a
millisecond at every start of a command that is to answer within half a second.
"""
