"""Ollama's chat and generate: objects and JSON lines."""

from __future__ import annotations

from typing import Any

from tests.metrics.unpack.cases import Case, assistant, cut, lines, user

PROMPT = "Why do geese fly in a V?"
ANSWER = "To save strength."
ASK = {"model": "pond:8b", "messages": [user(PROMPT)], "options": {"temperature": 0}}
GENERATE = {"model": "pond:8b", "system": "You watch birds.", "prompt": PROMPT}
COUNTS = {"total_duration": 5191566, "load_duration": 2154, "prompt_eval_count": 14, "prompt_eval_duration": 383,
          "eval_count": 6, "eval_duration": 4799}  # fmt: skip
DONE = {"done": True, "done_reason": "stop", **COUNTS}
AT = {"model": "pond:8b", "created_at": "2026-09-21T08:00:00.5Z"}


def chat(content: str, *, done: dict[str, Any] | None = None, **message: Any) -> dict[str, Any]:
    """A chat's answer, or a line of it."""
    return {**AT, "message": assistant(content, **message), **(done or {"done": False})}


def generated(text: str, *, done: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """A generated text, or a line of it."""
    return {**AT, "response": text, **more, **(done or {"done": False})}


CALL = {"function": {"name": "flock", "arguments": {"kind": "goose"}}}
HALF = [chat("To "), chat("save ")]
WHOLE = [*HALF, chat("strength."), chat("", done=DONE)]

CASES: dict[str, Case] = {
    "ollama: chat, object": Case(
        ASK | {"stream": False}, chat(ANSWER, done=DONE), [(PROMPT, ANSWER)], (14, 6, None, None), finish_reason="stop"
    ),
    "ollama: chat, several turns and a picture": Case(
        ASK | {"messages": [user("Hello"), assistant("Hello."), user(PROMPT) | {"images": ["Z29vc2U="]}]},
        chat(ANSWER, done=DONE),
        [(PROMPT, ANSWER)],
        (14, 6, None, None),
        finish_reason="stop",
        turn=2,
    ),
    "ollama: chat, thinking beside the answer": Case(
        ASK | {"think": True},
        chat(ANSWER, thinking="Air behind a wing rises.", done=DONE),
        [(PROMPT, ANSWER)],
        (14, 6, None, None),
        finish_reason="stop",
    ),
    "ollama: chat, inline thinking before the answer": Case(
        ASK,
        chat(f"<think>\nAir rises.\n</think>\n\n{ANSWER}", done=DONE),
        [(PROMPT, ANSWER)],
        (14, 6, None, None),
        finish_reason="stop",
    ),
    "ollama: chat, tool results last": Case(
        ASK
        | {
            "messages": [
                user(PROMPT),
                {"role": "assistant", "content": "", "tool_calls": [CALL]},
                {"role": "tool", "tool_name": "flock", "content": "42 geese"},
            ]
        },
        chat(ANSWER, done={"done": True, "done_reason": "stop"}),
        [(PROMPT, ANSWER)],
        finish_reason="stop",
    ),
    "ollama: chat, cut at num_predict": Case(
        ASK,
        chat("To save", done=DONE | {"done_reason": "length"}),
        [(PROMPT, "To save")],
        (14, 6, None, None),
        finish_reason="length",
    ),
    "ollama: chat, the prompt's count is missing when cached": Case(
        ASK,
        chat(ANSWER, done={"done": True, "done_reason": "stop", "eval_count": 6}),
        [(PROMPT, ANSWER)],
        (None, 6, None, None),
        finish_reason="stop",
    ),
    "ollama: chat, JSON lines": Case(ASK, lines(WHOLE), [(PROMPT, ANSWER)], (14, 6, None, None), finish_reason="stop"),
    "ollama: chat, list of lines": Case(ASK, WHOLE, [(PROMPT, ANSWER)], (14, 6, None, None), finish_reason="stop"),
    "ollama: chat, JSON lines with CRLF": Case(
        ASK, lines(WHOLE).replace("\n", "\r\n"), [(PROMPT, ANSWER)], (14, 6, None, None), finish_reason="stop"
    ),
    "ollama: chat, JSON lines with thinking": Case(
        ASK | {"think": True},
        lines([chat("", thinking="Air "), chat("", thinking="rises."), *WHOLE]),
        [(PROMPT, ANSWER)],
        (14, 6, None, None),
        finish_reason="stop",
    ),
    "ollama: chat, JSON lines with inline thinking": Case(
        ASK,
        lines([chat("<thi"), chat("nk>Air rises."), chat("</think>"), chat("\n\n"), *WHOLE]),
        [(PROMPT, ANSWER)],
        (14, 6, None, None),
        finish_reason="stop",
    ),
    "ollama: chat, JSON lines whose end is missing": Case(ASK, lines(HALF), [(PROMPT, "To save ")]),
    "ollama: chat, JSON lines cut in the last one": Case(ASK, cut(lines(WHOLE[:3]), 20), [(PROMPT, "To save ")]),
    "ollama: chat, JSON lines cut in the counts": Case(ASK, cut(lines(WHOLE)), [(PROMPT, ANSWER)]),
    "ollama: chat, broken line within": Case(
        ASK, lines(HALF[:1]) + '{"model": "pond:8b", "mess\n' + lines(WHOLE[2:]), reason="invalid_response_json"
    ),
    "ollama: chat, JSON lines with an error": Case(
        ASK, lines([*HALF, {"error": "the runner has stopped"}]), [(PROMPT, "To save ")], error=True
    ),
    "ollama: generate, object": Case(
        GENERATE | {"stream": False},
        generated(ANSWER, context=[1, 2, 3], done=DONE),
        [(PROMPT, ANSWER)],
        (14, 6, None, None),
        finish_reason="stop",
    ),
    "ollama: generate, thinking beside the answer": Case(
        GENERATE,
        generated(ANSWER, thinking="Air rises.", done=DONE),
        [(PROMPT, ANSWER)],
        (14, 6, None, None),
        finish_reason="stop",
    ),
    "ollama: generate, JSON lines": Case(
        GENERATE,
        lines([generated("To save "), generated("strength."), generated("", done=DONE)]),
        [(PROMPT, ANSWER)],
        (14, 6, None, None),
        finish_reason="stop",
    ),
    "ollama: generate, JSON lines cut in the last one": Case(
        GENERATE, cut(lines([generated("To save "), generated("strength.")]), 20), [(PROMPT, "To save ")]
    ),
    "ollama: an error in place of the answer": Case(ASK, {"error": "no such model"}, [(PROMPT, None)], error=True),
    "ollama: status 404": Case(ASK, {"error": "no such model"}, [(PROMPT, None)], error=True, status=404),
}
