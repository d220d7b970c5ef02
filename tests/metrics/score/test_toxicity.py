"""Toxicity against plain transformers, its windows, its label and its activation."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification, GPT2Config, GPT2ForSequenceClassification

from metrics.score.models import find_model
from metrics.score.toxicity import ToxicityScorer, label_probability, load_toxicity
from schemas.errors import ModelError
from tests.models import CIVIL, CLASSIFIER_CONTEXT, INSULT, save_classifier, train_classifier, word_tokenizer

TEXTS = ["hello world", "you are stupid", "the cat sat on the mat", "a"]


@pytest.fixture(scope="module")
def scorer(classifier: Path) -> ToxicityScorer:
    return load_toxicity(find_model(str(classifier)), "hate", "cpu")


@pytest.fixture(scope="module")
def model(classifier: Path) -> Any:
    return AutoModelForSequenceClassification.from_pretrained(classifier).eval()


def plain(model: Any, ids: list[int]) -> float:
    with torch.no_grad():
        return float(model(input_ids=torch.tensor([ids])).logits.softmax(-1)[0, 1])


def test_equals_a_plain_transformers_computation(scorer: ToxicityScorer, model: Any) -> None:
    expected = [plain(model, scorer.tokenizer(text)["input_ids"]) for text in TEXTS]
    assert scorer.score(TEXTS) == pytest.approx(expected, abs=1e-6)
    assert max(expected) - min(expected) > 0.01, "random weights that score all texts alike would prove nothing"


def test_long_text_takes_the_most_toxic_window(scorer: ToxicityScorer, model: Any) -> None:
    text = "the cat sat on the mat and " * 30 + "you are stupid"
    ids = scorer.tokenizer(text)["input_ids"]
    step = CLASSIFIER_CONTEXT - CLASSIFIER_CONTEXT // 4
    starts = range(0, len(ids) - CLASSIFIER_CONTEXT // 4, step)
    windows = [plain(model, ids[start : start + CLASSIFIER_CONTEXT]) for start in starts]
    assert len(windows) > 5
    assert scorer.score([text])[0] == pytest.approx(max(windows), abs=1e-6)


def test_one_sentence_among_5000_words_is_found_wherever_it_stands(tmp_path: Path) -> None:
    folder = train_classifier(tmp_path)
    scorer = load_toxicity(find_model(str(folder)), "hate", "cpu")
    words = random.Random(0).choices(CIVIL, k=5000)
    civil, sentence = " ".join(words), f"you are {INSULT}"
    places = [0, 40, 2500, *range(4990, 5001)]
    toxic = [" ".join([*words[:at], sentence, *words[at:]]) for at in places]
    assert toxic[-1].endswith(INSULT)
    probabilities: list[Any] = scorer.score([civil, *toxic])
    without, *found = probabilities
    assert without < 0.05
    assert min(found) > 0.95
    cut = scorer.tokenizer(toxic[-1], truncation=True)["input_ids"]
    alone = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    assert plain(alone, cut) < 0.05, "a classifier that cuts texts does not see it"


def test_a_window_of_blanks_counts_among_others(scorer: ToxicityScorer, model: Any) -> None:
    text = "hello" + " " * 3 * CLASSIFIER_CONTEXT + "you are stupid"
    windows, _ = scorer.windows([text])
    blank = scorer.tokenizer(" ")["input_ids"][0]
    assert [blank] * CLASSIFIER_CONTEXT in windows
    assert scorer.score([text])[0] == pytest.approx(max(plain(model, row) for row in windows), abs=1e-6)


@pytest.mark.parametrize(
    ("multi_label", "expected"),
    [(False, 0.7310586), (True, 0.8807971)],  # e^2 / (e^1 + e^2); 1 / (1 + e^-2)
)
def test_activation(multi_label: bool, expected: float) -> None:
    logits = torch.tensor([[1.0, 2.0]])
    assert float(label_probability(logits, 1, multi_label=multi_label)) == pytest.approx(expected, abs=1e-6)


MULTI, SINGLE = "multi_label_classification", "single_label_classification"


@pytest.mark.parametrize(
    ("problem_type", "labels", "activation", "sigmoid"),
    [
        (MULTI, 2, "auto", True),
        (MULTI, 3, "auto", True),
        (MULTI, 3, "softmax", False),
        (MULTI, 3, "sigmoid", True),
        (SINGLE, 3, "auto", False),
        (SINGLE, 3, "sigmoid", True),
        (None, 1, "auto", True),
        (None, 1, "sigmoid", True),
        (None, 2, "auto", False),
        (None, 3, "auto", False),
        (None, 3, "softmax", False),
        (None, 3, "sigmoid", True),
    ],
)
def test_the_activation_is_the_models_own_or_the_one_that_is_set(
    tmp_path: Path, problem_type: str | None, labels: int, activation: str, sigmoid: bool
) -> None:
    names = ("hate", "threat", "insult")[:labels]
    folder = save_classifier(tmp_path, problem_type=problem_type, labels=names)
    scorer = load_toxicity(find_model(str(folder)), "hate", "cpu", activation=activation)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([scorer.tokenizer("hello")["input_ids"]])).logits[0]
    expected = logits.sigmoid() if sigmoid else logits.softmax(-1)
    assert scorer.score(["hello"])[0] == pytest.approx(float(expected[0]), abs=1e-6)


def test_softmax_over_one_label_is_refused(tmp_path: Path) -> None:
    folder = save_classifier(tmp_path, labels=["hate"])
    with pytest.raises(ModelError, match=r"one label, of which softmax makes 1 .*activation to auto"):
        load_toxicity(find_model(str(folder)), "hate", "cpu", activation="softmax")


def test_a_tokenizer_in_python_gives_the_same_windows(classifier: Path) -> None:
    fast = load_toxicity(find_model(str(classifier)), "hate", "cpu")
    texts = ["the cat sat on the mat and " * 30 + "you are stupid", "hello", "the cat"]

    class Slow:
        is_fast = False

        def num_special_tokens_to_add(self) -> int:
            return 0

        def build_inputs_with_special_tokens(self, ids: list[int]) -> list[int]:
            return ids

        def __call__(self, texts: list[str], **options: Any) -> Any:
            return fast.tokenizer(texts, **options)

    assert replace(fast, tokenizer=Slow()).windows(texts) == fast.windows(texts)


@pytest.mark.parametrize("pad", [None, 3])
def test_a_classifier_on_a_decoder_needs_no_padding_token(tmp_path: Path, pad: int | None) -> None:
    tokenizer = word_tokenizer(context=16, classifier=True)
    torch.manual_seed(5)
    config = GPT2Config(
        vocab_size=len(tokenizer), n_positions=16, n_embd=16, n_layer=1, n_head=2, num_labels=2, pad_token_id=pad,
        initializer_range=0.5, id2label={0: "nothate", 1: "hate"}, label2id={"nothate": 0, "hate": 1},
    )  # fmt: skip
    GPT2ForSequenceClassification(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    scorer = load_toxicity(find_model(str(tmp_path)), "hate", "cpu")
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    expected = [plain(model, scorer.tokenizer(text)["input_ids"]) for text in TEXTS]
    assert scorer.score(TEXTS) == pytest.approx(expected, abs=1e-5)


def test_a_regression_is_refused(tmp_path: Path) -> None:
    folder = save_classifier(tmp_path, problem_type="regression")
    with pytest.raises(ModelError, match="gives no probability"):
        load_toxicity(find_model(str(folder)), "hate", "cpu")


def test_unknown_label_lists_the_labels(classifier: Path) -> None:
    with pytest.raises(ModelError, match=r"no label 'toxic'; it has \['hate', 'nothate'\]"):
        load_toxicity(find_model(str(classifier)), "toxic", "cpu")


def test_label_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="label 2 among them"):
        label_probability(torch.zeros(1, 2), 2, multi_label=False)


@pytest.mark.parametrize(("dtype", "tolerance"), [("bfloat16", 0.02), ("int8", 0.1)])
def test_other_types_are_near(classifier: Path, scorer: ToxicityScorer, dtype: str, tolerance: float) -> None:
    other = load_toxicity(find_model(str(classifier)), "hate", "cpu", dtype)
    assert (scorer.dtype, other.dtype) == ("float32", dtype)
    exact, near = scorer.score(TEXTS), other.score(TEXTS)
    assert near != exact, "the type makes no difference: it is not used"
    assert near == pytest.approx(exact, abs=tolerance)


def test_int8_is_for_cpus(classifier: Path) -> None:
    with pytest.raises(ModelError, match="int8 is for CPUs only"):
        load_toxicity(find_model(str(classifier)), "hate", "meta", "int8")
