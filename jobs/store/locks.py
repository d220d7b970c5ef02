"""Locks: one writer per table, and one driver per hop, kept in the table ``locks``.

A hop's lock is held as long as its query stands, so that a second driver is refused. A table's lock is held for a step
(a batch, a day of ``rescore``), so that another command can come between two steps. Delta's conflict detection makes
an UPDATE of a lock's row atomic. Whoever holds a lock renews its lease; a process that ended without giving it back is
known to be dead on its own machine, and elsewhere by its lease.
"""

from __future__ import annotations

import math
import os
import socket
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from functools import reduce
from operator import or_
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyspark.sql import functions as F

from jobs.command.errors import described
from jobs.command.log import LOG
from jobs.store.tables import create_table, insert_new, local_frame, read_table, set_rows
from schemas.errors import LockedError
from schemas.locks import LOCKS

if TYPE_CHECKING:
    from pyspark.sql import Column, SparkSession

    from schemas.config import Output

LEASE = timedelta(minutes=10)
"""Renewed every quarter of it. As long a dead process on another machine blocks its successor."""

POLL_SECONDS = 2.0

ALIVE, ENDED = "alive", "ended"


class Locks:
    """The locks that this process holds, by name. Names that it holds already are not taken twice.

    As a context manager it gives back at its end what it holds.

    Args:
        spark: Session.
        output: Where the tables are.
        command: What this process runs, for others to read.
        hops: What it runs alone as long as it stands; ``begin`` takes them.
    """

    def __init__(self, spark: SparkSession, output: Output, command: str, hops: Sequence[str] = ()) -> None:
        self._spark, self._output, self._command, self._hops = spark, output, command, hops
        self._owner = f"{_machine()}/{os.getpid()}/{_started(os.getpid())}/{uuid.uuid4().hex[:8]}"
        self._held: set[str] = set()
        self._lost: dict[str, Any] | None = None
        self._changes = threading.Lock()
        # Of one process's threads one at a time, too: a batch and the maintenance of a monitor.
        self._threads: defaultdict[str, threading.RLock] = defaultdict(threading.RLock)
        self._done = threading.Event()

    def __enter__(self) -> Locks:
        return self

    def __exit__(self, *_: object) -> None:
        if self._held:
            self._give_back(sorted(self._held))

    def begin(self) -> None:
        """Take the hops' locks; called when all else was checked, since it is the first write.

        Raises:
            LockedError: Another driver runs one of them.
        """
        if wanted := sorted(set(self._hops) - self._held):
            self._take(wanted, wait=0)

    @contextmanager
    def held(self, *names: str, wait: float = 0.0) -> Iterator[None]:
        """Hold locks while the block runs.

        Args:
            names: Tables or hops.
            wait: Seconds to wait for another process, or another thread of this one, that holds one of them.

        Raises:
            LockedError: It still does.
        """
        with ExitStack() as stack:
            for name in sorted(set(names)):
                mutex = self._threads[name]
                if not mutex.acquire(timeout=min(wait, threading.TIMEOUT_MAX)):
                    raise LockedError(name, "another thread of this process", datetime.now(UTC))
                stack.callback(mutex.release)
            wanted = sorted(set(names) - self._held)
            if wanted:
                self._take(wanted, wait=wait)
                stack.callback(self._give_back, wanted)
            yield

    def step(self, *names: str) -> AbstractContextManager[None]:
        """``held`` for one step of a job: waits until the step of another process or thread is over.

        However long that takes: one that has died frees its lock, here at once, elsewhere with its lease.
        """
        return self.held(*names, wait=math.inf)

    def check(self, *names: str) -> None:
        """Look whether locks that are held still are, before what was computed under them is written.

        Raises:
            LockedError: One is another's: this process stood still for longer than its lease.
        """
        lost = next((one for one in self._rows(names) if one["owner"] != self._owner), None)
        if lost:
            raise LockedError(lost["table_name"], _named(lost), lost["lease_until"])

    def maintained(self) -> dict[str, datetime]:
        """When the tables were last tidied up, of those that ever had a lock."""
        rows = read_table(self._spark, LOCKS, self._output).where("maintained_at IS NOT NULL").collect()
        return {row["table_name"]: row["maintained_at"].astimezone(UTC) for row in rows}

    def set_maintained(self, name: str, at: datetime) -> None:
        """Note that a table was tidied up."""
        self._set(F.col("table_name") == name, {"maintained_at": at})

    def _take(self, names: Sequence[str], *, wait: float) -> None:
        if self._lost is not None:
            raise LockedError(self._lost["table_name"], _named(self._lost), self._lost["lease_until"])
        create_table(self._spark, LOCKS, self._output)
        deadline, said = time.monotonic() + wait, False
        while (holder := self._try(names)) is not None:
            if time.monotonic() >= deadline:
                raise LockedError(holder["table_name"], _named(holder), holder["lease_until"])
            if not said:
                LOG.info("waiting for %s, which is in use by %s", holder["table_name"], _named(holder))
                said = True
            time.sleep(POLL_SECONDS)
        with self._changes:
            self._held.update(names)
            if self._held == set(names):
                self._done = threading.Event()
                threading.Thread(target=self._renew, args=(self._done,), daemon=True, name="locks").start()

    def _try(self, names: Sequence[str]) -> dict[str, Any] | None:
        """Take locks if all are free; else the row of one that is not."""
        now = datetime.now(UTC)
        mine = {
            "owner": self._owner,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "command": self._command,
            "acquired_at": now,
            "lease_until": now + LEASE,
        }
        found = self._rows(names)
        if busy := next((one for one in found if not self._may_take(one, now)), None):
            return busy
        for one in found:
            if one["owner"] not in (None, self._owner):
                LOG.warning("%s: taking over from %s, which has ended", one["table_name"], _named(one))
        if found:
            self._set(reduce(or_, map(_as_found, found)), mine)
        if missing := sorted(set(names) - {one["table_name"] for one in found}):
            rows = [{"table_name": name, "maintained_at": now, **mine} for name in missing]
            insert_new(local_frame(self._spark, rows, LOCKS.schema), LOCKS, self._output)
        # Whoever came between has changed the row, or inserted it: then it is not as it was found.
        busy = next((one for one in self._rows(names) if one["owner"] != self._owner), None)
        if busy:
            self._free(names)
        return busy

    def _may_take(self, row: dict[str, Any], now: datetime) -> bool:
        """Whether a lock is free, or ours since it could not be given back."""
        return row["owner"] in (None, self._owner) or row["lease_until"] <= now or _is_dead(row["owner"])

    def _rows(self, names: Sequence[str]) -> list[dict[str, Any]]:
        wanted = read_table(self._spark, LOCKS, self._output).where(F.col("table_name").isin(list(names)))
        rows = [row.asDict() for row in wanted.collect()]
        return [one | {key: one[key].astimezone(UTC) for key in ("acquired_at", "lease_until")} for one in rows]

    def _set(self, condition: Column, values: dict[str, Any]) -> None:
        set_rows(self._spark, LOCKS, self._output, condition, {key: F.lit(value) for key, value in values.items()})

    def _mine(self, names: Sequence[str]) -> Column:
        return F.col("table_name").isin(list(names)) & (F.col("owner") == self._owner)

    def _free(self, names: Sequence[str]) -> None:
        self._set(self._mine(names), {"owner": None, "lease_until": datetime.now(UTC)})

    def _give_back(self, names: Sequence[str]) -> None:
        with self._changes:
            self._held.difference_update(names)
            if not self._held:
                self._done.set()
        try:
            self._free(names)
        except Exception as error:  # the session may be gone by now; what is left is a lease that ends
            LOG.warning("locks could not be given back (%s): %s", ", ".join(names), described(error))

    def _renew(self, done: threading.Event) -> None:
        while not done.wait(LEASE.total_seconds() / 4):
            with self._changes:
                names = sorted(self._held)
            try:
                self._set(self._mine(names), {"lease_until": datetime.now(UTC) + LEASE})
                taken = [one for one in self._rows(names) if one["owner"] not in (None, self._owner)]
                if taken and set(names) <= self._held:  # this process stood still for longer than its lease
                    self._lost = taken[0]
                    LOG.error("%s was lost to %s; this process stops", self._lost["table_name"], _named(self._lost))
                    return
            except Exception as error:
                LOG.warning("locks could not be renewed, and are tried again: %s", described(error))


def step(locks: Locks | None, *names: str) -> AbstractContextManager[None]:
    """``Locks.step``; nothing where a caller works without locks (notebooks, tests)."""
    return locks.step(*names) if locks else nullcontext()


def _named(holder: dict[str, Any]) -> str:
    since = f"{holder['acquired_at']:%Y-%m-%d %H:%M:%S} UTC"
    return f"{holder['command']} (host {holder['host']}, process {holder['pid']}, since {since})"


def _as_found(row: dict[str, Any]) -> Column:
    """Whether a lock's row is still the one that was read."""
    same = F.col("owner").eqNullSafe(F.lit(row["owner"])) & (F.col("lease_until") == row["lease_until"])
    condition: Column = same & (F.col("table_name") == row["table_name"])
    return condition


def _is_dead(owner: str) -> bool:
    """Whether the process is one of this machine's, and has ended."""
    machine, pid, started, _ = owner.split("/")
    return machine == _machine() and _started(int(pid)) not in (started, ALIVE)


def _machine() -> str:
    """This machine since it was started, and its space of process ids: containers count from 1, each for itself."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}-{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return socket.gethostname()


def _started(pid: int) -> str:
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
