"""Locks: one writer per table, and one driver per hop, kept in the table ``locks``.

A hop's lock is held as long as its query stands, so that a second driver is refused. A table's lock is held for a step
(a batch, a day of ``rescore``), so that another command can come between two steps; a driver keeps it after its step
until somebody asks, so that a day on which nobody does writes nothing. Delta's conflict detection makes an UPDATE of a
lock's row atomic.

Whoever finds a lock taken asks for it (``asked_by``). Its owner looks for questions every two seconds, by the name of
the next file of the table's log, and answers: it gives the lock back, or says until when it has to be asked again
(``lease_until``). A process that ended without giving back is known to be dead on its own machine, and elsewhere by a
lease without an answer.
"""

from __future__ import annotations

import math
import os
import re
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from functools import reduce
from operator import and_, or_
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pyspark.sql import functions as F

from jobs.command.errors import described
from jobs.command.log import LOG
from jobs.store.processes import is_alive, is_dead, owner_id
from jobs.store.tables import create_table, insert_new, local_frame, read_table, set_rows
from schemas.errors import LockedError
from schemas.locks import LOCKS

if TYPE_CHECKING:
    from pyspark.sql import Column, SparkSession

    from schemas.config import Output

T = TypeVar("T")

LEASE = timedelta(minutes=10)
"""As long an owner may leave a question without an answer; then it is dead. It answers within a quarter of it."""

POLL_SECONDS = 2.0
TIMES = ("acquired_at", "lease_until", "asked_until")


class Unlocked:
    """What a caller who works alone (notebooks, tests) has in place of locks: nothing is taken, nothing remembered."""

    def begin(self) -> None:
        """Take the hops' locks."""

    def step(self, *names: str) -> AbstractContextManager[None]:  # noqa: ARG002
        """Hold locks for one step of a job."""
        return nullcontext()

    def check(self, *names: str) -> None:
        """Look whether locks that are held still are."""

    def remembered(self, what: str, look: Callable[[], T], *, under: str, seconds: float = 0) -> T:  # noqa: ARG002
        """What ``look`` says."""
        return look()

    def forget_remembered(self) -> None:
        """Look again at all that was remembered."""


UNLOCKED = Unlocked()


class Locks(Unlocked):
    """The locks that this process holds, by name. Names that it holds already are not taken twice.

    As a context manager it gives back at its end what it holds.

    Args:
        spark: Session.
        output: Where the tables are.
        command: What this process runs, for others to read.
        hops: What it runs alone as long as it stands; ``begin`` takes them. With hops, it is a driver: it keeps tables'
            locks between its steps.
    """

    def __init__(self, spark: SparkSession, output: Output, command: str, hops: Sequence[str] = ()) -> None:
        self._spark, self._output, self._command, self._hops = spark, output, command, hops
        self._owner = owner_id()
        self._held: set[str] = set()
        self._asked: set[str] = set()
        self._lost: dict[str, Any] | None = None
        self._changes, self._looking = threading.Lock(), threading.RLock()
        # Of one process's threads one at a time, too: a batch and the maintenance of a monitor.
        self._threads: defaultdict[str, threading.RLock] = defaultdict(threading.RLock)
        self._in_step: set[str] = set()
        self._log, self._looked = _Log(output), 0.0
        self._done = threading.Event()
        self._remembered: dict[tuple[str, str], tuple[float, Any]] = {}
        self._given_back = 0

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
            outer = sorted(set(names) - self._in_step)
            if self._held.intersection(outer):  # kept from the step before; who asked meanwhile comes first
                self._look()
                self._raise_if_lost()
            if wanted := [name for name in outer if name not in self._held]:
                self._take(wanted, wait=wait)
            self._in_step.update(outer)
            stack.callback(self._end_step, outer)
            yield

    def _end_step(self, names: Sequence[str]) -> None:
        self._in_step.difference_update(names)
        kept = set(names) - self._asked if self._hops else set()
        if leaving := [name for name in names if name not in kept]:
            self._give_back(leaving)

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
        self._look(always=not self._log.is_visible)
        self._raise_if_lost()
        assert self._held.issuperset(names)

    def remembered(self, what: str, look: Callable[[], T], *, under: str, seconds: float = math.inf) -> T:
        """What ``look`` says, or has said since this process took a lock.

        Args:
            what: Name of what is remembered.
            look: Looks at the tables.
            under: The lock without which nobody changes what it looks at; while it is not held, nothing is remembered.
            seconds: How long it may be remembered.
        """
        known, given_back = self._remembered.get((under, what)), self._given_back
        if known is None or time.monotonic() - known[0] > seconds:
            known = time.monotonic(), look()
            with self._changes:
                if under in self._held and given_back == self._given_back:  # else somebody may have come between
                    self._remembered[under, what] = known
        found: T = known[1]
        return found

    def forget_remembered(self) -> None:
        """Look again at all that was remembered: this process has changed it itself."""
        self._remembered.clear()

    def _raise_if_lost(self) -> None:
        if self._lost is not None:
            raise LockedError(self._lost["table_name"], _named(self._lost), _free_at(self._lost))

    def _take(self, names: Sequence[str], *, wait: float) -> None:
        self._raise_if_lost()
        create_table(self._spark, LOCKS, self._output)
        try:
            self._wait_for(names, time.monotonic() + wait)
        except BaseException:  # also where somebody has lost patience: the lock is promised to who waits
            self._withdraw(names)
            raise
        with self._changes:
            begins = not self._held
            self._held.update(names)
            if begins:
                self._done = threading.Event()
                threading.Thread(target=self._watch, args=(self._done,), daemon=True, name="locks").start()

    def _wait_for(self, names: Sequence[str], deadline: float) -> None:
        """Take locks as soon as all are free.

        Raises:
            LockedError: One was not at the deadline, by ``time.monotonic``, and its owner is alive.
        """
        said, question = False, _Question(self._owner)
        while (holder := self._try(names)) is not None:
            over = time.monotonic() >= deadline
            if over and (is_alive(holder["owner"]) or question.is_answered(holder)):
                raise LockedError(holder["table_name"], _named(holder), _free_at(holder))
            if values := question.asks(holder):
                self._set(_as_found(holder), values)
            if not said:
                what = "asking for" if over else "waiting for"
                LOG.info("%s %s, which is in use by %s", what, holder["table_name"], _named(holder))
                said = True
            time.sleep(POLL_SECONDS)

    def _try(self, names: Sequence[str]) -> dict[str, Any] | None:
        """Take locks if all are free; else the row of one that is not."""
        now = datetime.now(UTC)
        mine = {
            "owner": self._owner,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "command": self._command,
            "acquired_at": now,
            **NOBODY_ASKS,
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
            rows = [{"table_name": name, **mine} for name in missing]
            insert_new(local_frame(self._spark, rows, LOCKS.schema), LOCKS, self._output)
        # Whoever came between has changed the row, or inserted it: then it is not as it was found.
        busy = next((one for one in self._rows(names) if one["owner"] != self._owner), None)
        if busy:
            self._free(names)
        return busy

    def _may_take(self, row: dict[str, Any], now: datetime) -> bool:
        """Whether a lock is free and promised to nobody else, or ours since giving back failed, or a dead one's."""
        if row["owner"] is None:
            asker = row["asked_by"]
            return asker in (None, self._owner) or row["asked_until"] <= now or is_dead(asker)
        unanswered = row["asked_by"] == self._owner and row["lease_until"] <= now
        return row["owner"] == self._owner or unanswered or is_dead(row["owner"])

    def _rows(self, names: Sequence[str]) -> list[dict[str, Any]]:
        wanted = read_table(self._spark, LOCKS, self._output).where(F.col("table_name").isin(list(names)))
        rows = [row.asDict() for row in wanted.collect()]
        return [one | {key: one[key] and one[key].astimezone(UTC) for key in TIMES} for one in rows]

    def _set(self, condition: Column, values: dict[str, Any]) -> None:
        set_rows(self._spark, LOCKS, self._output, condition, {key: F.lit(value) for key, value in values.items()})

    def _mine(self, names: Sequence[str]) -> Column:
        return F.col("table_name").isin(list(names)) & (F.col("owner") == self._owner)

    def _free(self, names: Sequence[str]) -> None:
        # An earlier version of this program takes no lock without a time.
        self._set(self._mine(names), {"owner": None, "lease_until": datetime.now(UTC)})

    def _withdraw(self, names: Sequence[str]) -> None:
        """Take back questions for locks."""
        asked = F.col("table_name").isin(list(names)) & (F.col("asked_by") == self._owner)
        try:
            if not read_table(self._spark, LOCKS, self._output).where(asked).isEmpty():
                self._set(asked, dict.fromkeys(("asked_by", "asked_until")))
        except Exception as error:  # the question ends by itself
            LOG.warning("the question for %s could not be taken back: %s", ", ".join(names), described(error))

    def _give_back(self, names: Sequence[str]) -> None:
        with self._changes:
            self._held.difference_update(names)
            self._asked.difference_update(names)
            self._given_back += 1
            self._remembered = {key: one for key, one in self._remembered.items() if key[0] not in names}
            if not self._held:
                self._done.set()
        try:
            self._free(names)
        except Exception as error:  # the session may be gone by now; what is left is a lease that ends
            LOG.warning("locks could not be given back (%s): %s", ", ".join(names), described(error))

    def _watch(self, done: threading.Event) -> None:
        while not done.wait(POLL_SECONDS) and self._lost is None:
            try:
                self._look()
            except Exception as error:
                LOG.warning("locks could not be looked at, and are again: %s", described(error))

    def _look(self, *, always: bool = False) -> None:
        """Look for questions where there may be new ones, and answer them; and whether a lock was lost.

        Where the log can't be seen (a table of a catalog, a folder that is not mounted), and while somebody waits, it
        looks every quarter of the lease.
        """
        with self._looking:
            is_time = time.monotonic() - self._looked >= LEASE.total_seconds() / 4
            if not (self._log.has_news() or always or (is_time and (self._asked or not self._log.is_visible))):
                return
            self._looked, now = time.monotonic(), datetime.now(UTC)
            with self._changes:
                names = sorted(self._held)
            try:
                rows = self._rows(names)
            except Exception:
                self._log = _Log(self._output)  # which has everything to tell again
                raise
            # What was given back meanwhile is no longer ours to lose.
            lost = [one for one in rows if one["owner"] not in (None, self._owner) and one["table_name"] in self._held]
            if lost:  # this process stood still for longer than its lease
                self._lost = lost[0]
                LOG.error("%s was lost to %s; this process stops", self._lost["table_name"], _named(self._lost))
                return
            self._asked = {one["table_name"] for one in rows if one["asked_by"] and one["asked_until"] > now}
            self._answer(now)

    def _answer(self, now: datetime) -> None:
        """Give back what is asked for and no step needs; say of the rest that its owner is alive."""
        busy = []
        for name in sorted(self._asked):
            mutex = self._threads[name]
            if name in self._hops or not mutex.acquire(blocking=False):
                busy.append(name)
                continue
            try:
                if name in self._in_step:  # of this thread
                    busy.append(name)
                else:
                    self._give_back([name])
            finally:
                mutex.release()
        if busy:
            self._set(self._mine(busy), {"lease_until": now + LEASE})


NOBODY_ASKS = dict.fromkeys(("lease_until", "asked_by", "asked_until"))


class _Question:
    """What somebody who waits for a lock has asked its owner."""

    def __init__(self, asker: str) -> None:
        self._asker = asker
        self._until: dict[str, datetime] = {}

    def asks(self, row: dict[str, Any]) -> dict[str, Any] | None:
        """What to write into the row of a lock that is taken; None: it has been asked for, or somebody else asks."""
        now, mine = datetime.now(UTC), row["asked_by"] == self._asker
        is_asked = row["asked_by"] is not None and row["asked_until"] > now
        if is_asked and not (mine and row["asked_until"] - now < LEASE / 2):
            return None
        asked: dict[str, Any] = {"asked_by": self._asker, "asked_until": now + LEASE}
        if mine:  # waits on: the owner's answer stands
            return asked
        self._until[row["table_name"]] = now + LEASE
        return asked | {"lease_until": now + LEASE}

    def is_answered(self, row: dict[str, Any]) -> bool:
        """Whether the owner has given a later time than the question did."""
        until = self._until.get(row["table_name"])
        return row["asked_by"] == self._asker and until is not None and row["lease_until"] > until


class _Log:
    """Which commits of the table ``locks`` were not looked at yet, by the names of its log's files alone.

    Args:
        output: Where the tables are.
    """

    def __init__(self, output: Output) -> None:
        path = output.path
        is_mounted = path is not None and not re.match(r"^[a-zA-Z][\w+.-]*:", path)
        self._folder = Path(str(path)) / LOCKS.name / "_delta_log" if is_mounted else None
        self._next: int | None = None
        self._asked_at = 0.0

    @property
    def is_visible(self) -> bool:
        """Whether the log is a folder of a mounted file system."""
        return self._folder is not None

    def has_news(self) -> bool:
        """Whether there is a commit that the call before has not met."""
        if self._folder is None:
            return False
        found, before = self._next, self._asked_at
        self._asked_at = time.monotonic()
        # A process that stood still may find that the next file was cleaned up with others after it.
        if found is None or self._asked_at - before > LEASE.total_seconds():
            versions = [int(file.stem) for file in self._folder.glob("*.json") if file.stem.isdigit()]
            found = max(versions, default=-1) + 1
        else:
            while (self._folder / f"{found:020}.json").exists():
                found += 1
        has_news, self._next = found != self._next, found
        return has_news


def _named(holder: dict[str, Any]) -> str:
    if holder["owner"] is None:
        return "nobody, and promised to another that waits"
    since = f"{holder['acquired_at']:%Y-%m-%d %H:%M:%S} UTC"
    return f"{holder['command']} (host {holder['host']}, process {holder['pid']}, since {since})"


def _as_found(row: dict[str, Any]) -> Column:
    """Whether a lock's row is still the one that was read."""
    names = ("owner", "lease_until", "asked_by", "asked_until")
    same = [F.col(name).eqNullSafe(F.lit(row[name])) for name in names]
    condition: Column = reduce(and_, same, F.col("table_name") == row["table_name"])
    return condition


def _free_at(holder: dict[str, Any]) -> datetime:
    """When a lock is free at the latest, if its owner no longer runs."""
    until: datetime = holder["lease_until"] or datetime.now(UTC) + LEASE
    return until
