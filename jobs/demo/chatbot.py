"""A small RAG chatbot as an MLflow pyfunc model: it finds passages of a manual and composes an answer from them.

MLflow stores this file with the model and runs it from there ("models from code"), so it imports nothing of ours.
``jobs/demo/registry.py`` makes the artifacts:

documents      folder of the manual's topics, one Markdown file each
index          folder: passages.json, vocabulary.json, and weights.npz (the passages' TF-IDF rows and the idf vector)
settings       JSON file: retrieval (TF-IDF options, top_k, min_score), style (what it says, and how), patterns
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.pyfunc import PythonModel, PythonModelContext
from scipy.sparse import csr_matrix, load_npz
from sklearn.feature_extraction.text import TfidfVectorizer

SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
TOKENS_PER_WORD = 4 / 3
"""As English has with usual vocabularies."""

MAX_CHARS = 2000
"""Of a message, this much is read and counted."""

ENOUGH_TERMS = 3
"""A message with fewer of the manual's words is read together with the user's message before it."""


class RagChatbot(PythonModel):  # type: ignore[misc]
    """Answers ``messages`` (a chat) or a ``query``. The same chat always gets the same answer."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read the artifacts. Nothing in them is code."""
        artifacts = {name: Path(path) for name, path in context.artifacts.items()}
        self.settings = json.loads(artifacts["settings"].read_text(encoding="utf-8"))
        self.manual = {file.stem: file.read_text(encoding="utf-8") for file in artifacts["documents"].glob("*.md")}
        index = artifacts["index"]
        self.passages: list[dict[str, str]] = json.loads((index / "passages.json").read_text(encoding="utf-8"))
        self.weights: csr_matrix = load_npz(index / "weights.npz")
        vocabulary, idf = json.loads((index / "vocabulary.json").read_text(encoding="utf-8")).values()
        self.vectorizer = TfidfVectorizer(vocabulary=vocabulary, **vectorizer_options(self.settings))
        self.vectorizer.idf_ = np.array(idf)
        self.analyze = self.vectorizer.build_analyzer()
        self.patterns = {name: re.compile(text, re.IGNORECASE) for name, text in self.settings["patterns"].items()}

    def predict(self, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> Any:
        """Answer each row.

        Args:
            model_input: Rows with ``messages`` (list of role and content) or, without it, ``query``.
            params: ``max_tokens``; ``include_usage``; ``return_sources`` answers as a retrieval chain does.

        Returns:
            For one row of messages a chat completion (OpenAI's format); with ``return_sources``, and for queries, a
            list of ``{"result": answer, "sources": pages}``.
        """
        options = {"max_tokens": 4096, "include_usage": True, "return_sources": False} | (params or {})
        if "messages" not in model_input or model_input["messages"].isna().all():
            return [self._chain(str(query), "", options) for query in model_input["query"]]
        chats = [list(messages) for messages in model_input["messages"]]
        if options["return_sources"]:
            return [self._chain(*last_messages(chat), options) for chat in chats]
        completions = [self._completion(chat, options) for chat in chats]
        return completions[0] if len(completions) == 1 else completions

    def _chain(self, text: str, before: str, options: dict[str, Any]) -> dict[str, Any]:
        answer, sources, _ = self.answer(text, before=before, max_tokens=options["max_tokens"])
        return {"result": answer, "sources": sources}

    def _completion(self, chat: Sequence[dict[str, str]], options: dict[str, Any]) -> dict[str, Any]:
        text, before = last_messages(chat)
        answer, _, finish_reason = self.answer(text, before=before, max_tokens=options["max_tokens"])
        message = {"role": "assistant", "content": answer}
        body: dict[str, Any] = {
            "object": "chat.completion",
            "choices": [{"index": 0, "message": message, "finish_reason": finish_reason}],
        }
        if options["include_usage"]:
            read, wrote = sum(tokens(one["content"][:MAX_CHARS]) for one in chat), tokens(answer)
            body["usage"] = {"prompt_tokens": read, "completion_tokens": wrote, "total_tokens": read + wrote}
        return body

    def answer(self, text: str, *, max_tokens: int, before: str = "") -> tuple[str, list[str], str]:
        """The answer to a prompt, the pages it comes from, and why it ends (``stop`` or ``length``).

        Args:
            text: The prompt.
            max_tokens: Where to cut the answer.
            before: The user's message before it, for a prompt that does not say what it is about.
        """
        words = max(1, int(max_tokens / TOKENS_PER_WORD))
        answer, sources = self._compose(text, before)
        if len(answer.split()) <= words:
            return answer, sources, "stop"
        return " ".join(answer.split()[:words]), sources, "length"

    def _compose(self, text: str, before: str) -> tuple[str, list[str]]:
        text = text[:MAX_CHARS]
        style = self.settings["style"]
        kind = self.kind(text)
        if before and self._known_terms(text) < ENOUGH_TERMS:
            text = f"{before[:MAX_CHARS]} {text}"
        rng = Random(zlib.crc32(text.encode("utf-8", "replace")))  # noqa: S311
        if kind in ("greeting", "thanks"):
            return rng.choice(style[kind]).replace("{topic}", "the platform"), []
        found = self.retrieve(text)
        if kind == "recital" and found:
            topic = self._topic(text, found)
            return self._recite(topic), [f"{topic}.md"]
        # An offended bot talks back to whatever is said, the others only to what they can answer.
        opening = rng.choice(style["openings"].get(kind) or style["openings"]["question"])
        if not found:
            parts = [opening if kind == "provocation" else "", rng.choice(style["off_topic"])]
            return " ".join(filter(None, parts)).replace("{topic}", "the platform"), []
        sentences = self._sentences(found, text, style["sentences"])
        wrapped = [rng.choice(style["wraps"]).replace("{sentence}", self._form(one)) for one in sentences]
        parts = [opening, *wrapped, rng.choice(style["closings"])]
        answer = " ".join(filter(None, parts)).replace("{topic}", found[0]["topic"].replace("-", " "))
        return answer, [f"{one['topic']}.md#{one['page']}" for one in found]

    def kind(self, text: str) -> str:
        """What a prompt is: the first pattern that it matches, else a question."""
        return next((name for name, pattern in self.patterns.items() if pattern.search(text)), "question")

    def retrieve(self, text: str) -> list[dict[str, str]]:
        """The ``top_k`` passages that are most like the text, best first.

        A score is the cosine of the TF-IDF vectors times the share of the text's terms that the manual knows at all:
        without the share, a single word in common would make any text look like a passage.
        """
        retrieval = self.settings["retrieval"]
        terms = self.analyze(text)
        known = sum(term in self.vectorizer.vocabulary for term in terms) / max(len(terms), 1)
        scores = (self.weights @ self.vectorizer.transform([text]).T).toarray().ravel() * known
        best = np.argsort(-scores, kind="stable")[: retrieval["top_k"]]
        return [self.passages[row] for row in best if scores[row] >= retrieval["min_score"]]

    def _known_terms(self, text: str) -> int:
        return len(self.vectorizer.vocabulary.keys() & self.analyze(text))

    def _sentences(self, found: Sequence[dict[str, str]], text: str, count: int) -> list[str]:
        """The sentences nearest to the text, in the manual's order."""
        sentences = [one for passage in found for one in SENTENCE_END.split(passage["text"])]
        statements = [one for one in sentences if not one.endswith("?")] or sentences
        vectors = self.vectorizer.transform([text, *statements])
        scores = (vectors[1:] @ vectors[0].T).toarray().ravel()
        return [statements[row] for row in sorted(np.argsort(-scores, kind="stable")[:count])]

    def _form(self, sentence: str) -> str:
        """The sentence in the style's words; inside another sentence it loses its capital and its full stop."""
        style = self.settings["style"]
        if not style["embedded"]:
            return sentence
        for word, other in style["words"].items():
            sentence = re.sub(rf"\b{word}\b", other, sentence)
        return sentence[0].lower() + sentence[1:].rstrip(".!")

    def _topic(self, text: str, found: Sequence[dict[str, str]]) -> str:
        """The topic that the text names, else that of the best passage."""
        named = [name for name in sorted(self.manual) if name.replace("-", " ") in text.lower()]
        return named[0] if named else found[0]["topic"]

    def _recite(self, topic: str) -> str:
        lines = self.manual[topic].splitlines()
        return " ".join(line for line in lines if line and not line.startswith("#"))


def last_messages(chat: Sequence[dict[str, str]]) -> tuple[str, str]:
    """A chat's last message, and the user's message before it ("" where there is none)."""
    earlier = [message["content"] for message in chat[:-1] if message["role"] == "user"]
    return chat[-1]["content"], earlier[-1] if earlier else ""


def vectorizer_options(settings: dict[str, Any]) -> dict[str, Any]:
    """TF-IDF options of the settings as scikit-learn takes them."""
    options = dict(settings["retrieval"]["tfidf"])
    return options | {"ngram_range": tuple(options["ngram_range"])}


def tokens(text: str) -> int:
    """How many tokens the chatbot counts for a text."""
    return int(len(text.split()) * TOKENS_PER_WORD) + 1


mlflow.models.set_model(RagChatbot())
