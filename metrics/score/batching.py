"""How texts become batches: duplicates once, long ones in windows, equal lengths together."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(frozen=True)
class Failed:
    """Stands in for the result of an input that could not be scored; ``reason`` goes to ``score_errors``."""

    reason: str


CIRCUIT_OPEN = "circuit_open"
"""Reason of a text that was not tried, because its scorer had failed on too many before it."""


@dataclass
class Circuit:
    """Stops a scorer that always fails from being tried on every text.

    It opens after ``limit`` texts in a row could not be scored, and stays open as long as the process keeps it; a new
    worker process tries again. Rows are stored without the score, and ``rescore`` fills them later.
    """

    limit: int = 100
    failures: int = 0

    @property
    def open(self) -> bool:
        """Whether texts are no longer tried."""
        return self.failures >= self.limit

    def count(self, *, failed: bool) -> None:
        """Note what became of a text."""
        self.failures = self.failures + 1 if failed else 0


def score_unique(
    keys: Sequence[K], score: Callable[[list[K]], Sequence[V]], circuit: Circuit | None = None
) -> list[V | Failed]:
    """Score every distinct key once, and survive the keys that can't be scored.

    Errors of the machine (memory, GPU) are passed on. Where the scorer raises otherwise on the whole list, its halves
    are tried, and theirs, so that one bad text costs only its own score. The reason names the exception's type and
    never its message, which may hold text.

    Args:
        keys: Inputs, repeats allowed.
        score: Results of a list of distinct inputs, in order.
        circuit: Counts failures from call to call; None for this call alone.

    Returns:
        One result per key, in order.
    """
    distinct = list(dict.fromkeys(keys))
    results: dict[K, V | Failed] = {}
    _score_some(distinct, score, circuit or Circuit(limit=len(distinct) + 1), results)
    return [results[key] for key in keys]


def _score_some(
    keys: list[K], score: Callable[[list[K]], Sequence[V]], circuit: Circuit, results: dict[K, V | Failed]
) -> None:
    if not keys:
        return
    if circuit.open:
        results.update(dict.fromkeys(keys, Failed(CIRCUIT_OPEN)))
        return
    try:
        results.update(zip(keys, score(keys), strict=True))
    except Exception as error:
        if _is_environment(error):
            raise
        if len(keys) > 1:
            half = len(keys) // 2
            _score_some(keys[:half], score, circuit, results)
            _score_some(keys[half:], score, circuit, results)
            return
        results[keys[0]] = Failed(f"error:{type(error).__name__}")
        circuit.count(failed=True)
    else:
        circuit.count(failed=False)


def _is_environment(error: Exception) -> bool:
    """Whether the machine failed and not the text: then the task has to fail and be tried again, not every text."""
    name = type(error).__name__
    try:
        said = str(error)
    except Exception:  # of somebody's own
        said = ""
    return name in {"MemoryError", "AcceleratorError"} or said.startswith("CUDA error")


def token_batches(lengths: Sequence[int], *, budget: int, packed: bool = False) -> Iterator[list[int]]:
    """Positions in batches of at most ``budget`` tokens.

    Rows are taken by length, longest first, so that rows of like length share a batch and padding is small. A row
    longer than the budget is a batch of its own.

    Args:
        lengths: Tokens per row.
        budget: Tokens per batch, as the model sees it: with padding (rows times longest row), or packed, without.
        packed: Whether the batch is packed.
    """
    batch: list[int] = []
    tokens = longest = 0
    for position in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        length = lengths[position]
        longest = longest or length
        after = tokens + length if packed else (len(batch) + 1) * longest
        if batch and after > budget:
            yield batch
            batch, tokens, longest = [], 0, length
        batch.append(position)
        tokens += length
    if batch:
        yield batch


def strided_windows(length: int, *, size: int) -> Iterator[tuple[int, int, int]]:
    """Windows over a sequence that is longer than the model's context.

    Yields:
        ``(start, first, end)``: the window is tokens ``start`` to ``end`` (exclusive), and the tokens from ``first``
        on are scored in it. Each token but the very first of the sequence is scored exactly once, and from the second
        window on with at least half a context before it.
    """
    stride = size // 2
    start, first = 0, 1
    while True:
        end = min(start + size, length)
        yield start, first, end
        if end >= length:
            return
        first = end
        start += stride
