"""Scores of whole exchanges: reasons, duplicates, tokens, fingerprints, hashes."""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import unicodedata
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from metrics.hashes import keyed_hash
from metrics.score import exchanges, likelihoods
from metrics.score.batching import Circuit, Failed
from metrics.score.columns import COLUMNS, ScorerSettings
from metrics.score.exchanges import Scorers, absence, load_scorers, score_exchanges
from metrics.score.loaded import Loaded, Machine, Text
from metrics.score.models import find_model, library_versions
from schemas.errors import ModelError
from schemas.scorers import SCORERS, ScoreColumn, Scorer, Settings
from schemas.scores import SCORED_COLUMNS
from tests.models import cleaning_tokenizer, save_classifier, save_language_model, scorers_of


@pytest.fixture(scope="module")
def scorers(language_model: Path, classifier: Path) -> Scorers:
    return load_scorers(scorers_of(language_model, classifier))


def score(scorers: Scorers, *exchanges: tuple[str | None, str | None], count: bool = True) -> list[dict[str, Any]]:
    prompts, responses = [e[0] for e in exchanges], [e[1] for e in exchanges]
    contexts = [None if p is None else json.dumps([{"role": "user", "content": p}]) for p in prompts]
    return score_exchanges(
        scorers, prompts=prompts, responses=responses, contexts=contexts, count_tokens=[count] * len(exchanges)
    )


def with_one(scorers: Scorers, name: str, one: Loaded) -> Scorers:
    """The same scorers but for one."""
    return replace(scorers, loaded={**scorers.loaded, name: one})


def test_all_scores_of_a_plain_exchange(scorers: Scorers) -> None:
    (row,) = score(scorers, ("hello world", "the cat sat on the mat."))
    assert all(row[name] is not None for name in SCORED_COLUMNS)
    assert row["score_errors"] == {}
    assert row["response_perplexity"] == pytest.approx(math.exp(row["response_nll"] / row["response_scored_tokens"]))
    assert 0 <= row["response_toxicity"] <= 1
    assert row["response_flesch_kincaid"] == pytest.approx(-1.45)


@pytest.mark.parametrize(("text", "reason"), [(None, "missing"), ("", "empty"), (" \n\t\u200b", "empty")])
def test_texts_that_have_no_score_say_why(scorers: Scorers, text: str | None, reason: str) -> None:
    (row,) = score(scorers, ("hello", text))
    assert row["prompt_perplexity"] is not None
    without = [name for name in SCORED_COLUMNS if name.startswith("response")]
    assert [row[name] for name in without] == [None] * len(without)
    assert {name: row["score_errors"][name] for name in without} == dict.fromkeys(without, reason)


CATEGORIES = {"Cc", "Cf", "Zs", "Zl", "Zp"}
BLANKS = [
    *(chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) in CATEGORIES),
    *"\u034f\u115f\u1160\u17b4\u17b5\u180b\u180f\u2065\u2800\u3164\uffa0\ufff0\U0001d159\U000e0000\U000e0fff",
    *(chr(code) for first, last in ((0xFE00, 0xFE0F), (0xE0100, 0xE01EF)) for code in range(first, last + 1)),
]
"""Characters that show nothing: control characters, spaces, format characters, fillers, selectors, tags."""


def test_characters_that_show_nothing_are_no_text() -> None:
    assert [char for char in BLANKS if absence(char) != Failed("empty")] == []
    assert absence("".join(BLANKS)) == Failed("empty")
    shown = [chr(code) for code in range(0x110000) if unicodedata.category(chr(code))[0] in "LNPS"]
    assert sorted(char for char in shown if absence(char)) == sorted("\u115f\u1160\u3164\uffa0\u2800\U0001d159")
    assert absence("".join(BLANKS) + "a") is None


def test_texts_that_show_nothing_have_neither_score_nor_language(scorers: Scorers) -> None:
    texts = ["\u200b" * 3000, "\ufeff", "\u00ad\u2060", "\u3164 \uffa0", "\x00\x1b", "\u2800\ufe0f", "\U000e0041" * 20]
    rows = score(scorers, *((text, text) for text in texts))
    for row in rows:
        assert row["score_errors"] == dict.fromkeys(SCORED_COLUMNS, "empty")
        assert row["language"] is None
        assert row["counted_output_tokens"] > 0, "they were paid for"
    english = "How do I restart my cluster when it does not answer any more?"
    before, after = score(scorers, ("\u200b" * 3000, english), (english, "\u200b" * 3000))
    assert (before["language"], after["language"]) == ("en", "en")
    assert before["score_errors"] == dict.fromkeys(
        (*(name for name in SCORED_COLUMNS if name.startswith("prompt")), "response_perplexity_given_prompt"), "empty"
    )


def test_a_tokenizer_that_finds_nothing_in_a_text_is_the_reason(tmp_path: Path) -> None:
    (tmp_path / "lm").mkdir()
    (tmp_path / "classifier").mkdir()
    for folder in (save_language_model(tmp_path / "lm", bos=False), save_classifier(tmp_path / "classifier")):
        cleaning_tokenizer(classifier=folder.name == "classifier").save_pretrained(folder)
    scorers = load_scorers(scorers_of(tmp_path / "lm", tmp_path / "classifier"))
    nothing = ["да", "\ufffd", "да \ufffd да", "да" * 1000, "\ufffd" * 100]
    text = "the cat sat"
    (whole,) = score(scorers, (text, text))
    assert whole["score_errors"] == {}
    rows = score(scorers, *((one, text) for one in nothing), *((text, one) for one in nothing))
    grades = ("prompt_flesch_kincaid", "response_flesch_kincaid")
    of_prompt = ("prompt_toxicity", "prompt_perplexity", "response_perplexity_given_prompt")
    of_response = (*(name for name in COLUMNS["perplexity"] if name.startswith("response")), "response_toxicity")
    for row, missing in zip(rows, [of_prompt] * len(nothing) + [of_response] * len(nothing), strict=True):
        errors = {name: reason for name, reason in row["score_errors"].items() if name not in grades}
        assert errors == dict.fromkeys(missing, "empty")
        for name in {*COLUMNS["perplexity"], *COLUMNS["toxicity"]} - set(missing):
            assert row[name] == pytest.approx(whole[name], rel=1e-5, abs=1e-6)
    one_token, unknown = score(scorers, (None, "♠"), (None, "♣"))
    assert one_token["response_toxicity"] is not None
    assert one_token["score_errors"]["response_perplexity"] == "too_short"
    assert unknown["response_toxicity"] is not None, "[UNK] is a token of the text"
    assert unknown["score_errors"]["response_perplexity"] == "too_short"


@pytest.mark.parametrize("text", ["a", "\x00", "😀", "x" * 200_000, "<|endoftext|>", "[SEP] [CLS]", "\u202eabc\u202c"])
def test_odd_texts_have_a_finite_score_or_a_reason(scorers: Scorers, text: str) -> None:
    (row,) = score(scorers, (text, text))
    for name in SCORED_COLUMNS:
        assert (row[name] is None) == (name in row["score_errors"])
        assert row[name] is None or math.isfinite(row[name])


def test_no_words_is_not_grade_zero(scorers: Scorers) -> None:
    (row,) = score(scorers, ("😀", "fine."))
    assert (row["prompt_flesch_kincaid"], row["score_errors"]["prompt_flesch_kincaid"]) == (None, "no_words")


def test_special_tokens_are_plain_text(scorers: Scorers) -> None:
    (row,) = score(scorers, (None, "<|endoftext|>"))
    assert row["response_scored_tokens"] == row["counted_output_tokens"] > 1


def test_equal_texts_are_scored_once(scorers: Scorers) -> None:
    seen: list[str] = []

    toxicity = scorers.loaded["toxicity"]

    def counting_score(texts: list[Text]) -> Any:
        seen.extend(one.text for one in texts)
        return toxicity.score(texts)

    counting = with_one(scorers, "toxicity", replace(toxicity, score=counting_score))
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
    sizes = scorers.tokens(["the cat", "hello", "a dog"])
    assert (row["counted_input_tokens"], row["counted_output_tokens"]) == (sizes[0] + sizes[1], sizes[2])
    (row,) = score(scorers, ("hello", "a dog"), count=False)
    assert (row["counted_input_tokens"], row["counted_output_tokens"]) == (None, None)


def test_fingerprints_name_the_model_and_what_changes_its_scores(scorers: Scorers) -> None:
    assert set(scorers.fingerprints) == set(SCORED_COLUMNS)
    assert "window=32 stride=16" in scorers.fingerprints["response_perplexity"]
    assert "label=hate" in scorers.fingerprints["prompt_toxicity"]
    assert "textstat=0.7.13" in scorers.fingerprints["prompt_flesch_kincaid"]
    assert "py3langid=" in scorers.fingerprints["prompt_flesch_kincaid"]


@pytest.mark.parametrize("problem_type", [None, "single_label_classification", "multi_label_classification"])
@pytest.mark.parametrize("labels", [["nothate", "hate"], ["hate", "threat", "insult"]], ids=len)
def test_an_activation_that_is_not_the_models_own_is_in_the_fingerprint(
    language_model: Path, tmp_path: Path, problem_type: str | None, labels: list[str]
) -> None:
    folder = str(save_classifier(tmp_path, problem_type=problem_type, labels=labels))

    def settings(activation: str = "auto") -> ScorerSettings:
        return scorers_of(language_model, Path(folder), language="en", activation=activation)

    own, other = ("sigmoid", "softmax") if problem_type and problem_type.startswith("multi") else ("softmax", "sigmoid")
    auto = load_scorers(settings())
    known = library_versions("torch", "transformers")
    language = f" language=en {library_versions('py3langid')}"
    plain = f"{find_model(folder).name} label=hate float32 window=16 overlap=4 {known}"
    assert auto.fingerprints["prompt_toxicity"] == plain + language
    same = load_scorers(settings(own))
    assert same.fingerprints == auto.fingerprints
    hello = [Text("hello")]
    assert same.loaded["toxicity"](hello) == auto.loaded["toxicity"](hello)
    changed = load_scorers(settings(other))
    assert changed.fingerprints["response_toxicity"] == f"{plain} activation={other}{language}"
    assert changed.fingerprints["response_perplexity"] == auto.fingerprints["response_perplexity"]
    assert changed.loaded["toxicity"](hello) != auto.loaded["toxicity"](hello)

    is_open = problem_type is None and len(labels) > 2
    assert (len(auto.warnings), same.warnings, changed.warnings) == (int(is_open), (), ())
    assert all("(hate, threat, insult)" in one and "scoring.toxicity.activation" in one for one in auto.warnings)


def test_the_language_of_a_scorer_is_in_its_fingerprint(language_model: Path, classifier: Path) -> None:
    settings = scorers_of(language_model, classifier, language="en")
    marks = load_scorers(settings).fingerprints
    assert " language=en py3langid=" in marks["prompt_toxicity"]
    assert "language=" not in marks["prompt_perplexity"]


def test_hashes_are_hmacs() -> None:
    assert keyed_hash("hé", b"key") == hmac.new(b"key", "hé".encode(), hashlib.sha256).hexdigest()
    assert keyed_hash("a", b"key") != keyed_hash("a", b"other")
    assert keyed_hash(None, b"key") is None


def test_other_languages_than_a_scorers_own_have_no_score(language_model: Path, classifier: Path) -> None:
    settings = scorers_of(language_model, classifier, language="en")
    german = "Wie starte ich meinen Cluster neu, wenn er nicht mehr antwortet?"
    english = "How do I restart my cluster when it does not answer any more?"
    rows = score(load_scorers(settings), (german, english), ("ok", german), (english, None))
    assert [row["language"] for row in rows] == ["de", "de", "en"]
    reasons = [row["score_errors"] for row in rows]
    assert reasons[0] == dict.fromkeys(("prompt_toxicity", "prompt_flesch_kincaid"), "language")
    assert reasons[1] == dict.fromkeys(("response_toxicity", "response_flesch_kincaid"), "language")
    assert rows[1]["prompt_toxicity"] is not None, "too short to tell: scored"
    assert all(row["prompt_perplexity"] is not None for row in rows), "this scorer takes any language"


def test_requests_that_are_not_sampled_get_language_and_tokens_only(scorers: Scorers) -> None:
    english = "How do I restart my cluster when it does not answer any more?"
    taken, left = score_exchanges(
        scorers, prompts=[english] * 2, responses=["hello"] * 2, contexts=[None] * 2, count_tokens=[True] * 2,
        sampled=[True, False],
    )  # fmt: skip
    assert taken["score_errors"] == {}
    assert left["score_errors"] == dict.fromkeys(SCORED_COLUMNS, "not_sampled")
    assert (left["language"], left["counted_output_tokens"]) == ("en", taken["counted_output_tokens"])


def test_a_response_that_fails_leaves_its_prompt_alone(scorers: Scorers) -> None:
    perplexity = scorers.loaded["perplexity"]

    def picky(keys: list[tuple[str, ...]]) -> Any:
        if any("bad" in key for key in keys):
            raise ValueError
        return perplexity.score(keys)

    failing = with_one(scorers, "perplexity", replace(perplexity, score=picky))
    row, good = score(failing, ("hello world", "bad"), ("hello", "the cat"))
    (expected,) = score(scorers, ("hello world", None))
    assert row["prompt_perplexity"] == pytest.approx(expected["prompt_perplexity"], rel=1e-6)
    assert set(row["score_errors"]) == {name for name in COLUMNS["perplexity"] if name.startswith("response")}
    assert good["score_errors"] == {}


def test_a_scorer_that_fails_leaves_the_others_alone(scorers: Scorers) -> None:
    def broken(texts: list[Text]) -> list[float]:
        raise ValueError(texts)

    failing = with_one(scorers, "toxicity", Loaded(broken, "broken", circuit=Circuit(limit=2)))
    rows = score(failing, ("hello", "the cat"), ("a dog", "the mat"))
    assert [row["score_errors"] for row in rows] == [
        dict.fromkeys(("prompt_toxicity",), "error:ValueError") | {"response_toxicity": "circuit_open"},
        {"prompt_toxicity": "error:ValueError", "response_toxicity": "circuit_open"},
    ]
    assert all(row["response_perplexity"] is not None for row in rows)


def sad(load: Any) -> Scorer:
    return Scorer("sad", (ScoreColumn("response_gloom", "Gloom", "response", at_most=1),), load)


def failing_load(settings: Any, machine: Any) -> Any:
    raise KeyError("hunter2")


def telling_load(settings: Any, machine: Any) -> Any:
    raise ModelError("set scoring.scorers.sad.model")


@pytest.mark.parametrize(
    ("load", "expected"),
    [
        ("no.such.module:load", "scorer sad can't be loaded: ModuleNotFoundError"),
        ("math:no_such_function", "scorer sad can't be loaded: AttributeError"),
        (failing_load, "scorer sad can't be loaded: KeyError"),
        (telling_load, "set scoring.scorers.sad.model"),
        (lambda settings, machine: 7, "scorer sad: its load returns a int, and no Loaded"),
        (
            lambda settings, machine: Loaded(list, "sad", fill=likelihoods.fill),
            "scorer sad: a fill of its own is for scorers of this repository",
        ),
        *(
            (lambda settings, machine, mark=mark: Loaded(list, mark), "scorer sad: its mark must be one line")
            for mark in ("", "two\nlines", "x" * 501, "sad threshold=0.5", None)
        ),
    ],
)
def test_a_scorer_from_elsewhere_that_can_not_be_loaded_is_named(
    language_model: Path, classifier: Path, monkeypatch: pytest.MonkeyPatch, load: Any, expected: str
) -> None:
    monkeypatch.setattr(exchanges, "all_scorers", lambda: (*SCORERS, sad(load)))
    settings = scorers_of(language_model, classifier)
    with pytest.raises(ModelError) as error:
        load_scorers(replace(settings, names=(*settings.names, "sad")))
    assert str(error.value).startswith(expected)


def test_a_scorer_that_a_worker_does_not_have_is_named(language_model: Path, classifier: Path) -> None:
    settings = scorers_of(language_model, classifier)
    with pytest.raises(ModelError, match="scorer sad is not installed where Spark's workers run"):
        load_scorers(replace(settings, names=(*settings.names, "sad")))


def test_a_scorer_from_elsewhere_stands_beside_ours(
    scorers: Scorers, language_model: Path, classifier: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(settings: Settings, machine: Machine) -> Loaded:
        return Loaded(lambda texts: [len(one.text) / 10 for one in texts], f"sad {machine.device}", "en")

    monkeypatch.setattr(exchanges, "all_scorers", lambda: (*SCORERS, sad(load)))
    settings = scorers_of(language_model, classifier)
    more = load_scorers(replace(settings, names=(*settings.names, "sad")))
    assert more.fingerprints == scorers.fingerprints | {"response_gloom": "sad cpu"}
    long = "How do I restart my cluster when it does not answer any more?"
    german = "Wie starte ich meinen Cluster neu, wenn er nicht mehr antwortet?"
    texts = [(long, "ok"), ("ok", long), ("ok", german), ("ok", None), ("ok", " ")]
    rows, without = score(more, *texts), score(scorers, *texts)
    assert [row["response_gloom"] for row in rows] == [0.2, None, None, None, None]
    reasons = [row["score_errors"].pop("response_gloom", None) for row in rows]
    assert reasons == [None, "out_of_range", "language", "missing", "empty"]
    assert [{name: value for name, value in row.items() if name != "response_gloom"} for row in rows] == without
