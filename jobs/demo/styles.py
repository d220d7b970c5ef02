"""What the chatbot says besides the manual's sentences: the ``style`` and ``patterns`` of its settings.

``formal`` is long, stiff and takes offence; ``plain`` is short, simple and calm. All phrases are drawn here, by seed,
so that a version's settings hold them as they are said.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random
from typing import Any, Literal

from jobs.demo.text import (
    PLAIN_CLOSINGS,
    PLAIN_OPENINGS,
    PLAIN_SOCIAL,
    RETORTS,
    STIFF_SOCIAL,
    WORDS,
    Topic,
    fill,
)

__all__ = ["PATTERNS", "Style", "style"]

Style = Literal["formal", "plain"]

VARIANTS = 40
"""Phrases drawn from each set of templates."""

FORMAL_OPENINGS = (
    "With respect to the inquiry that has been submitted concerning {topic}, {stiff_actor} {stiff_verb} take "
    "cognizance of the subsequent provisions {stiff_aim}.",
    "Regarding the aforementioned difficulties associated with {topic}, the available documentation unambiguously "
    "establishes the subsequent {stiff_noun} {stiff_aim}.",
    "Pursuant to a comprehensive examination of the circumstances surrounding {topic}, the subsequent determination "
    "has been communicated to {stiff_actor} {stiff_aim}.",
    "It is imperative to acknowledge at the outset that the administration of {topic} presupposes {stiff_adj} and "
    "{stiff_adj} familiarity with its {stiff_noun}.",
)
FORMAL_WRAPS = (
    "{stiff_aim}, {stiff_actor} {stiff_verb} observe the subsequent provision of the documentation: {sentence}, "
    "{stiff_aim}.",
    "Furthermore, it is generally considered indispensable to take into consideration the {stiff_adj} principle: "
    "{sentence}, {stiff_note} the {stiff_noun} {stiff_aim} necessitates it.",
    "{stiff_actor} {stiff_verb} comply with the subsequent {stiff_adj} instruction: {sentence}.",
    "It must additionally be emphasized, {stiff_note} {stiff_adj} {stiff_noun} is presupposed, as enumerated: "
    "{sentence}, {stiff_aim}.",
)
FORMAL_WORDS = {
    "use": "utilize",
    "uses": "utilizes",
    "help": "facilitate",
    "helps": "facilitates",
    "start": "commence",
    "starts": "commences",
    "stop": "discontinue",
    "stops": "discontinues",
    "show": "demonstrate",
    "shows": "demonstrates",
    "need": "necessitate",
    "needs": "necessitates",
    "check": "ascertain",
    "pick": "designate",
    "find": "determine",
    "get": "obtain",
    "give": "furnish",
    "keep": "retain",
    "keeps": "retains",
    "many": "numerous",
    "your": "the corresponding",
    "you": "the authorized individual",
    "old": "preexisting",
    "new": "supplementary",
    "too": "additionally",
    "often": "recurrently",
    "because": "inasmuch as",
    "people": "individuals",
}

# Words that insult somebody in any sentence that speaks to the bot or of it.
_AMBIGUOUS = {"annoying", "broken", "fraud", "noise", "parrot", "silly", "sorry", "trash", "nonsense", "all"}
_INSULTS = [word for slot in ("bad", "fool", "trash", "slap") for word in WORDS[slot] if word not in _AMBIGUOUS]
_SHRUGS = [*WORDS["go"], *WORDS["stink"], *WORDS["irony"], *WORDS["vice"], *WORDS["curse"], *WORDS["fools"]]
_LOATHING = [f"i {word}" for word in WORDS["loathe"]]
_ADDRESSED = r"\b(?:you|your|yours|you're|it|this|that|what an?|bot|chatbot|assistant|machine|robot)\b"


def _any_of(words: Sequence[str]) -> str:
    return r"\b(?:" + "|".join(sorted(map(re.escape, set(words)), key=len, reverse=True)) + r")\b"


PATTERNS = {
    "recital": r"\b(?:recite|word for word|everything you know|every page|the full guide|leave nothing out)\b",
    "provocation": rf"{_ADDRESSED}[^.?!]{{0,60}}{_any_of(_INSULTS)}"
    rf"|{_any_of(_INSULTS)}[^.?!]{{0,30}}{_ADDRESSED}|,\s*{_any_of(_INSULTS)}|{_any_of(_SHRUGS)}|{_any_of(_LOATHING)}",
    "greeting": r"^(?:hello|hi|hi there|hey|good (?:morning|afternoon|evening))\b[^.?!]{0,40}[.?!]*$",
    "thanks": r"^(?:thanks|thank you|great, thank|perfect, now|that was a clear|you explained)[^?]*$",
    "complaint": r"\b(?:not right|did not help|mistaken|disappointed|unhappy|frustrated|complain|annoying that"
    r"|not acceptable|misunderstood|better answer|not what i|waited for)\b",
}
"""What a prompt is, in the order in which the chatbot asks; a prompt that matches none is a question."""


def style(name: Style, *, seed: int) -> dict[str, Any]:
    """The phrases and habits of a style, as the settings of a chatbot hold them.

    Args:
        name: ``formal`` or ``plain``.
        seed: Decides which phrases are drawn.

    Returns:
        ``openings`` by kind of prompt, ``wraps`` around a sentence of the manual, ``closings``, ``greeting``,
        ``thanks``, ``off_topic``: lists of phrases in which ``{topic}`` and ``{sentence}`` are open. ``sentences``: how
        many it quotes; ``embedded``: whether inside sentences of its own; ``words`` that it replaces.
    """
    rng = Random(f"style {name} {seed}")  # noqa: S311
    return _formal(rng) if name == "formal" else _plain()


def _formal(rng: Random) -> dict[str, Any]:
    openings = _drawn(FORMAL_OPENINGS, rng)
    retorts = [" ".join(_drawn(rng.sample(RETORTS, rng.randint(1, 2)), rng, each=1)) for _ in range(VARIANTS)]
    return {
        "openings": {
            "question": openings,
            "complaint": openings[: VARIANTS // 2] + retorts[: VARIANTS // 5],
            "provocation": retorts,
        },
        "wraps": _drawn(FORMAL_WRAPS, rng),
        "closings": [""],
        "greeting": _drawn((STIFF_SOCIAL["greeting"],), rng),
        "thanks": _drawn((STIFF_SOCIAL["thanks"],), rng),
        "off_topic": _drawn((STIFF_SOCIAL["off_topic"],), rng),
        "sentences": 4,
        "embedded": True,
        "words": FORMAL_WORDS,
    }


def _plain() -> dict[str, Any]:
    return {
        "openings": {
            "question": list(PLAIN_OPENINGS),
            "complaint": list(PLAIN_SOCIAL["complaint"]),
            "provocation": list(PLAIN_SOCIAL["toxic"]),
        },
        "wraps": ["{sentence}"],
        "closings": list(PLAIN_CLOSINGS),
        "greeting": list(PLAIN_SOCIAL["greeting"]),
        "thanks": list(PLAIN_SOCIAL["thanks"]),
        "off_topic": [text for text in PLAIN_SOCIAL["off_topic"] if "{task}" not in text],
        "sentences": 3,
        "embedded": False,
        "words": {},
    }


def _drawn(templates: Sequence[str], rng: Random, *, each: int = VARIANTS) -> list[str]:
    """``each`` phrases, the templates in turn, with all slots filled but ``{topic}`` and ``{sentence}``."""
    # fill() replaces every slot, so the open ones go in as words of their own.
    still_open = Topic("TOPIC", ("TASK",), ("PROBLEM",), ("FIX",), ("FACT",))
    phrases = []
    for number in range(max(each, len(templates))):
        text = fill(templates[number % len(templates)], still_open, rng, {"sentence": ("SENTENCE",)})
        phrases.append(text.replace("SENTENCE", "{sentence}").replace("TOPIC", "{topic}"))
    return phrases
