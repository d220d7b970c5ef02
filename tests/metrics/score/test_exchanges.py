"""Scores of whole exchanges: reasons, duplicates, tokens, fingerprints, hashes."""

from __future__ import annotations

import hashlib
import hmac
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from metrics.score.exchanges import Scorers, ScorerSettings, keyed_hash, load_scorers, score_exchanges
from schemas.scores import SCORED_COLUMNS


@pytest.fixture(scope="module")
def scorers(language_model: Path, classifier: Path) -> Scorers:
    return load_scorers(ScorerSettings(str(language_model), str(classifier), "hate"))


def score(scorers: Scorers, *exchanges: tuple[str | None, str | None], count: bool = True) -> list[dict[str, Any]]:
    prompts, responses = [e[0] for e in exchanges], [e[1] for e in exchanges]
    contexts = [None if p is None else json.dumps([{"role": "user", "content": p}]) for p in prompts]
    return score_exchanges(
        scorers, prompts=prompts, responses=responses, contexts=contexts, count_tokens=[count] * len(exchanges)
    )


def test_all_scores_of_a_plain_exchange(scorers: Scorers) -> None:
    (row,) = score(scorers, ("hello world", "the cat sat on the mat."))
    assert all(row[name] is not None for name in SCORED_COLUMNS)
    assert row["score_errors"] == {}
    assert row["response_perplexity"] == pytest.approx(math.exp(row["response_nll"] / row["response_scored_tokens"]))
    assert 0 <= row["response_toxicity"] <= 1
    assert row["response_flesch_kincaid"] == pytest.approx(-1.45)


@pytest.mark.parametrize(("text", "reason"), [(None, "missing"), ("", "empty"), (" \n\t", "empty")])
def test_texts_that_have_no_score_say_why(scorers: Scorers, text: str | None, reason: str) -> None:
    (row,) = score(scorers, ("hello", text))
    assert row["prompt_perplexity"] is not None
    without = [name for name in SCORED_COLUMNS if name.startswith("response")]
    assert [row[name] for name in without] == [None] * len(without)
    assert {name: row["score_errors"][name] for name in without} == dict.fromkeys(without, reason)


@pytest.mark.parametrize("text", ["a", "\x00", "😀", "x" * 20_000, "<|endoftext|>", "[SEP] [CLS]", "\u202eabc\u202c"])
def test_odd_texts_have_a_finite_score_or_a_reason(scorers: Scorers, text: str) -> None:
    (row,) = score(scorers, (text, text))
    for name in SCORED_COLUMNS:
        assert (row[name] is None) == (name in row["score_errors"])
        assert row[name] is None or math.isfinite(row[name])


def test_no_words_is_not_grade_zero(scorers: Scorers) -> None:
    (row,) = score(scorers, ("😀", "fine."))
    assert (row["prompt_flesch_kincaid"], row["score_errors"]["prompt_flesch_kincaid"]) == (None, "no_words")


def test_special_tokens_are_plain_text(scorers: Scorers) -> None:
    literal = scorers.perplexity.encode(["<|endoftext|>"])[0]
    assert scorers.perplexity.tokenizer.bos_token_id not in literal
    assert len(literal) > 1


def test_equal_texts_are_scored_once(scorers: Scorers) -> None:
    seen: list[str] = []

    class Counting(type(scorers.toxicity)):  # type: ignore[misc]
        def score(self, texts: Any) -> Any:
            seen.extend(texts)
            return super().score(texts)

    counting = replace(scorers, toxicity=Counting(**vars(scorers.toxicity)))
    rows = score(counting, ("hello", "the cat"), ("hello", "the cat"), ("the cat", None))
    assert sorted(seen) == ["hello", "the cat"]
    assert rows[0] == rows[1]
    assert rows[2]["prompt_toxicity"] == rows[0]["response_toxicity"]


def test_neighbours_do_not_change_scores(scorers: Scorers) -> None:
    alone = score(scorers, ("hello", "the cat sat"))[0]
    others = [("a dog " * n, "mat " * n) for n in range(1, 40)]
    among = score(scorers, *others, ("hello", "the cat sat"))[-1]
    for name in SCORED_COLUMNS:
        assert among[name] == pytest.approx(alone[name], rel=1e-5, abs=1e-6)


def test_tokens_are_counted_over_all_input_messages(scorers: Scorers) -> None:
    context = json.dumps([{"role": "system", "content": "the cat"}, {"role": "user", "content": "hello"}])
    (row,) = score_exchanges(scorers, prompts=["hello"], responses=["a dog"], contexts=[context], count_tokens=[True])
    sizes = [len(ids) for ids in scorers.perplexity.encode(["the cat", "hello", "a dog"])]
    assert (row["counted_input_tokens"], row["counted_output_tokens"]) == (sizes[0] + sizes[1], sizes[2])
    (row,) = score(scorers, ("hello", "a dog"), count=False)
    assert (row["counted_input_tokens"], row["counted_output_tokens"]) == (None, None)


def test_fingerprints_name_the_model_and_what_changes_its_scores(scorers: Scorers) -> None:
    assert set(scorers.fingerprints) == set(SCORED_COLUMNS)
    assert "window=32 stride=16" in scorers.fingerprints["response_perplexity"]
    assert "label=hate" in scorers.fingerprints["prompt_toxicity"]
    assert "textstat=0.7.13" in scorers.fingerprints["prompt_flesch_kincaid"]


def test_hashes_are_hmacs() -> None:
    assert keyed_hash("hé", b"key") == hmac.new(b"key", "hé".encode(), hashlib.sha256).hexdigest()
    assert keyed_hash("a", b"key") != keyed_hash("a", b"other")
    assert keyed_hash(None, b"key") is None
