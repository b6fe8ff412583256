from __future__ import annotations

import socket


def free_ports(count: int) -> tuple[int, ...]:
    """Loopback ports on which nobody listens now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return tuple(int(each.getsockname()[1]) for each in sockets)
    finally:
        for each in sockets:
            each.close()


def free_port() -> int:
    """A loopback port on which nobody listens now."""
    return free_ports(1)[0]
