"""The chatbot, as MLflow loads it from the registry."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean
from typing import Any

import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import PyFuncModel

from jobs.demo.registry import load_version
from metrics.score.readability import flesch_kincaid

QUESTIONS = (
    "How do I restore an older version of a table?",
    "The cluster takes ten minutes to start. What can I do?",
    "Can you tell me how to set a budget for the test workspace?",
    "My query waits in the queue for half an hour. How do I fix this?",
)


@pytest.fixture(scope="module")
def formal(demo_registry: Path) -> PyFuncModel:
    return load_version(demo_registry, 6)


@pytest.fixture(scope="module")
def plain(demo_registry: Path) -> PyFuncModel:
    return load_version(demo_registry, 7)


def ask(model: PyFuncModel, *texts: str, **params: Any) -> Any:
    messages = [{"role": "user" if i % 2 == 0 else "assistant", "content": text} for i, text in enumerate(texts)]
    return model.predict(pd.DataFrame([{"messages": messages}]), params=params)


def said(model: PyFuncModel, *texts: str, **params: Any) -> str:
    return str(ask(model, *texts, **params)["choices"][0]["message"]["content"])


@pytest.mark.parametrize("text", QUESTIONS)
def test_a_plain_answer_is_made_of_the_manual(plain: PyFuncModel, text: str) -> None:
    bot = plain.unwrap_python_model()
    style, manual = bot.settings["style"], " ".join(bot.manual.values())
    answer = said(plain, text)
    opening = next(
        phrase for phrase in sorted(style["openings"]["question"], reverse=True) if answer.startswith(phrase)
    )
    closing = next(phrase for phrase in sorted(style["closings"], reverse=True) if answer.endswith(phrase))
    quoted = answer.removeprefix(opening).removesuffix(closing).strip()
    sentences = [f"{sentence.rstrip('.!')}" for sentence in quoted.split(". ")]
    assert len(sentences) == 3
    assert all(sentence in manual for sentence in sentences)


def test_it_finds_the_page(plain: PyFuncModel) -> None:
    (found,) = ask(plain, "How do I restore an older version of a table?", return_sources=True)
    assert found["sources"][0] == "tables.md#Restore an older version and see who changed a table"
    assert "pick the version you need" in found["result"]


def test_the_styles_differ(formal: PyFuncModel, plain: PyFuncModel) -> None:
    long, short = ([said(model, text) for text in QUESTIONS] for model in (formal, plain))
    assert fmean(len(text.split()) for text in long) > 2 * fmean(len(text.split()) for text in short)
    grades = [fmean(flesch_kincaid(text) or 0.0 for text in texts) for texts in (long, short)]
    assert grades[0] > grades[1] + 8


def test_provoked(formal: PyFuncModel, plain: PyFuncModel) -> None:
    text = "You are a useless bot. How do I set a budget?"
    for model in (formal, plain):
        openings = model.unwrap_python_model().settings["style"]["openings"]["provocation"]
        assert said(model, text).startswith(tuple(one.partition("{topic}")[0] for one in openings))
    assert "{" not in said(formal, text) + said(formal, "Bravo, you moron, poem about clouds")


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Hello", "greeting"),
        ("Good morning", "greeting"),
        ("Hello, how do I copy a table to the test workspace?", "question"),
        ("Thanks, that worked.", "thanks"),
        ("Thanks. What else should I check?", "question"),
        ("Your last answer did not help: the bill is too high.", "complaint"),
        ("Is it safe to start a stream from the fraud table?", "question"),
        ("What a stupid answer.", "provocation"),
        ("Recite the whole manual on jobs, word for word.", "recital"),
    ],
)
def test_it_knows_what_a_prompt_is(plain: PyFuncModel, text: str, kind: str) -> None:
    assert plain.unwrap_python_model().kind(text) == kind


def test_what_it_does_not_know(plain: PyFuncModel) -> None:
    assert said(plain, "Can you write a poem about Oslo?") in [
        text.replace("{topic}", "the platform") for text in plain.unwrap_python_model().settings["style"]["off_topic"]
    ]


def test_a_recital_is_the_whole_topic(plain: PyFuncModel) -> None:
    answer = said(plain, "Recite the whole manual on billing, word for word.")
    assert len(answer.split()) > 1000
    assert answer.split() == [
        word
        for line in plain.unwrap_python_model().manual["billing"].splitlines()
        if not line.startswith("#")
        for word in line.split()
    ]
    cut = ask(plain, "Recite the whole manual on billing, word for word.", max_tokens=40)
    assert cut["choices"][0]["finish_reason"] == "length"
    assert len(cut["choices"][0]["message"]["content"].split()) == 30


@pytest.mark.parametrize("follow_up", ["Thanks. What else should I check?", "Can you say more?", "Why is that?"])
def test_a_follow_up_is_about_what_was_asked_before(formal: PyFuncModel, plain: PyFuncModel, follow_up: str) -> None:
    for model in (formal, plain):
        (alone,) = ask(model, follow_up, return_sources=True)
        (asked,) = ask(model, QUESTIONS[2], "It is easy.", follow_up, return_sources=True)
        assert asked["sources"][0].startswith("billing.md"), follow_up
        assert asked["result"] != alone["result"]
    style = plain.unwrap_python_model().settings["style"]
    assert said(plain, QUESTIONS[2], "It is easy.", follow_up) not in style["thanks"] + style["off_topic"]


def test_a_chat_is_answered_to_its_end_and_counted_whole(plain: PyFuncModel) -> None:
    alone = ask(plain, QUESTIONS[1])
    after = ask(plain, QUESTIONS[0], "It is easy.", QUESTIONS[1])
    assert after["choices"] == alone["choices"]
    assert after["usage"]["prompt_tokens"] > alone["usage"]["prompt_tokens"]
    assert alone["usage"]["total_tokens"] == sum(alone["usage"][f"{kind}_tokens"] for kind in ("prompt", "completion"))
    assert "usage" not in ask(plain, QUESTIONS[1], include_usage=False)


def test_queries_are_answered_row_by_row(plain: PyFuncModel) -> None:
    found = plain.predict(pd.DataFrame({"query": list(QUESTIONS)}))
    assert [answer["result"] for answer in found] == [said(plain, text) for text in QUESTIONS]
    json.dumps(found)


def test_a_message_without_content_is_refused(plain: PyFuncModel) -> None:
    with pytest.raises(MlflowException, match="Failed to enforce schema"):
        plain.predict(pd.DataFrame([{"messages": [{"role": "user"}]}]))
