"""Who owns a lock: a process, by its machine, number and start, and whether it still runs."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Sequence
from pathlib import Path

ALIVE, ENDED = "alive", "ended"
"""When a process was started, where that can't be told; and of none."""


def owner_id() -> str:
    """This process as ``locks`` has it: machine, process id, when it was started, and a mark of this one owner."""
    return f"{machine()}/{os.getpid()}/{started(os.getpid())}/{uuid.uuid4().hex[:8]}"


def is_dead(owner: str) -> bool:
    """Whether the process is one of this machine's, and has ended."""
    where, pid, since, _ = owner.split("/")
    return where == machine() and started(int(pid)) not in (since, ALIVE)


def is_alive(owner: str | None) -> bool:
    """Whether the process is one of this machine's, and runs."""
    if owner is None:
        return True  # who waits for the lock has it as good as taken
    where, pid, since, _ = owner.split("/")
    return where == machine() and started(int(pid)) in (since, ALIVE)


def machine() -> str:
    """This machine since it was started, and its space of process ids: containers count from 1, each for itself."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}-{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return socket.gethostname()


def started(pid: int) -> str:
    """When a process was started, as its system counts it; ALIVE where that can't be told, ENDED for none."""
    try:
        # After the name, which may hold anything: state, …, and as the 20th the start time.
        fields: Sequence[str] = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return ENDED if fields[0] in "ZX" else fields[19]
    except OSError:  # no /proc, or one that hides other users' processes
        pass
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ENDED
    except PermissionError:
        pass
    return ALIVE
