"""Batches, windows, duplicates and bad texts."""

from __future__ import annotations

import pytest

from metrics.score.batching import Circuit, Failed, score_unique, strided_windows, token_batches


@pytest.mark.parametrize("lengths", [[], [3], [5, 1, 4, 2, 3], [600, 3, 3], [1] * 50, list(range(1, 60))])
def test_batches_hold_each_row_once_within_the_budget(lengths: list[int]) -> None:
    batches = list(token_batches(lengths, budget=64))
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        padded = max(lengths[i] for i in batch) * len(batch)
        assert padded <= 64 or len(batch) == 1


def test_rows_of_like_length_share_a_batch() -> None:
    assert list(token_batches([10, 2, 10, 2], budget=20)) == [[0, 2], [1, 3]]


@pytest.mark.parametrize("length", [2, 7, 8, 9, 12, 13, 100])
def test_windows_score_each_token_once_with_half_a_context(length: int) -> None:
    size = 8
    windows = list(strided_windows(length, size=size))
    assert [t for _, first, end in windows for t in range(first, end)] == list(range(1, length))
    assert all(end - start <= size for start, _, end in windows)
    assert all(first - start >= size // 2 for start, first, _ in windows[1:])


def test_equal_keys_are_scored_once() -> None:
    seen: list[str] = []

    def score(keys: list[str]) -> list[int]:
        seen.extend(keys)
        return [len(key) for key in keys]

    assert score_unique(["aa", "b", "aa"], score) == [2, 1, 2]
    assert seen == ["aa", "b"]


@pytest.mark.parametrize("error", [RuntimeError("CUDA error: an illegal memory access was encountered"), MemoryError()])
def test_errors_of_the_machine_are_no_errors_of_the_text(error: Exception) -> None:
    def score(keys: list[str]) -> list[int]:
        raise error

    with pytest.raises(type(error)):
        score_unique(["a", "b"], score)


def test_a_bad_text_costs_only_its_own_score_and_stays_secret() -> None:
    calls = 0

    def score(keys: list[str]) -> list[int]:
        nonlocal calls
        calls += 1
        if "bad" in keys:
            raise ValueError(f"can't score {keys}")
        return [len(key) for key in keys]

    assert score_unique(["a", "bad", "ccc"], score) == [1, Failed("error:ValueError"), 3]
    calls, many = 0, ["a" * n for n in range(1, 1000)]
    assert score_unique([*many, "bad"], score) == [*range(1, 1000), Failed("error:ValueError")]
    assert calls < 25, "the others are scored in large batches"


def test_a_scorer_that_always_fails_is_tried_no_more() -> None:
    tried = []
    circuit = Circuit(limit=3)

    def broken(keys: list[str]) -> list[int]:
        tried.extend(keys)
        raise ValueError

    first = score_unique([f"text {i}" for i in range(10)], broken, circuit)
    assert first == [Failed("error:ValueError")] * 3 + [Failed("circuit_open")] * 7
    before = len(tried)
    assert score_unique(["another"], broken, circuit) == [Failed("circuit_open")]
    assert len(tried) == before


def test_now_and_then_a_bad_text_opens_no_circuit() -> None:
    circuit = Circuit(limit=3)

    def picky(keys: list[str]) -> list[int]:
        if any(key.startswith("bad") for key in keys):
            raise ValueError
        return [len(key) for key in keys]

    texts = [f"{'bad' if i % 2 else 'good'} {i}" for i in range(20)]
    results = score_unique(texts, picky, circuit)
    assert [isinstance(result, Failed) for result in results] == [i % 2 == 1 for i in range(20)]
    assert not circuit.open


def test_packed_batches_count_tokens_without_padding() -> None:
    assert list(token_batches([10, 2, 10, 2], budget=20, packed=True)) == [[0, 2], [1, 3]]
    assert list(token_batches([10, 4, 3, 3], budget=20, packed=True)) == [[0, 1, 2, 3]]
    assert list(token_batches([10, 4, 3, 3], budget=20)) == [[0, 1], [2, 3]]
