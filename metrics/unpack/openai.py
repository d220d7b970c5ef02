"""OpenAI's protocols, which most servers speak: chat and text completions, and embeddings; responses.py has Responses.

Source: OpenAI API reference ("Chat", "Completions", "Embeddings"); Databricks, "Foundation model REST API
reference" (content parts in chunks); OpenRouter (``finish_reason: error``), Groq (``x_groq.usage``).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from metrics.unpack import messages
from metrics.unpack.body import Events
from metrics.unpack.contents import content_text, says_elsewhere
from metrics.unpack.shapes import BEGINNING, MAX_INPUTS, Answer, Call, Family, Input, UnreadableError
from metrics.unpack.usage import last_counts

__all__ = ["CHAT", "COMPLETIONS", "token_inputs"]


def _chat_request(body: Any) -> Call | None:
    """``messages`` beside options; a system text may stand beside them (Anthropic, Bedrock)."""
    if not isinstance(body, dict):
        return None
    said = body.get("messages")
    if said and isinstance(said, str | dict):
        said = [said]
    if not isinstance(said, list) or (not said and any(isinstance(body.get(name), str) for name in _ASKED)):
        return None
    if said and all(isinstance(one, list) and one and isinstance(one[0], dict) for one in said):
        return Call([messages.chat(one) for one in limited(said)])  # LangChain: several conversations
    if said and not _ASKED.isdisjoint(body) and messages.said_by(said[-1]) in (messages.ASSISTANT, messages.SYSTEM):
        # A history, and the question beside it.
        said = [*said, *[body[name] for name in _QUESTIONS if isinstance(body.get(name), str) and body[name]][:1]]
    return Call([messages.chat(said, system=body.get("system"))])


_QUESTIONS = ("query", "question", "prompt", "input")
_ASKED = frozenset(_QUESTIONS)
"""Fields that hold the prompt where ``messages``, a history, has nothing."""


def limited(values: list[Any]) -> list[Any]:
    """The inputs of a call.

    Raises:
        UnreadableError: They are too many.
    """
    if len(values) > MAX_INPUTS:
        raise UnreadableError("too_large")
    return values


def _choices_answer(body: Any) -> Answer | None:
    """``choices``: what the one with index 0 says. None of them, or null, is an answer that was filtered."""
    if not isinstance(body, dict) or "choices" not in body:
        return None
    choices = body["choices"]
    if choices is None:
        # An object that has other fields than those of a completion is no answer because of a null.
        return Answer(usage=_usage(body)) if _is_bare(body) else None
    if not isinstance(choices, list):
        return None
    choice = first_choice(choices)
    if choice is None:
        return Answer(usage=_usage(body)) if _is_bare(body) else None
    if isinstance(choice, dict) and "message" not in choice and not _is_bare(body):
        return None  # the choices of a question
    answer = _choice(choice)
    if answer is not None:
        answer.usage = _usage(body)
    return answer


_OTHER_ANSWERS = (
    *("predictions", "output", "content", "messages", "candidates", "message", "result", "answer"),
    *("output_text", "response", "generated_text", "text"),
)


def _is_bare(body: dict[str, Any]) -> bool:
    return not any(body.get(name) for name in _OTHER_ANSWERS)


def _usage(body: dict[str, Any]) -> Any:
    usage = body.get("usage")
    if usage is None and isinstance(body.get("x_groq"), dict):
        usage = body["x_groq"].get("usage")
    return usage


def first_choice(choices: list[Any]) -> Any:
    """The choice with the lowest index; None where there is none. What has no index is in order."""
    if not choices:
        return None
    first = choices[0]
    if not isinstance(first, dict) or _index(first) == 0:
        return first
    return min((one for one in choices if isinstance(one, dict)), key=_index)


def _index(choice: dict[str, Any]) -> int:
    index = choice.get("index")
    return index if type(index) is int else 0


def _choice(choice: Any) -> Answer | None:
    if not isinstance(choice, dict):
        return None
    finish, error = choice.get("finish_reason"), choice.get("error")
    message = choice.get("message")
    if isinstance(message, dict):
        return Answer(messages.spoken(message), finish, error=error)
    for text in (choice.get("text"), message):
        if isinstance(text, str):
            return Answer(text, finish, error=error)
    if "delta" in choice or (finish is None and not error) or says_elsewhere(choice, _NOTHING_SAID):
        return None
    return Answer(None, finish, error=error)  # filtered, or failed before it began


_NOTHING_SAID = frozenset(
    (
        *("index", "finish_reason", "native_finish_reason", "stop_reason", "matched_stop", "logprobs", "error"),
        *("content_filter_results", "content_filter_result", "content_filter_offsets", "message", "text", "seed"),
        *("finish_details", "token_ids", "prompt_token_ids", "usage", "moderation", "routed_experts", "hidden_states"),
        *(
            "finish_message",
            "block_reason",
            "reasoning",
            "reasoning_content",
            "safety_ratings",
            "provider_specific_fields",
        ),
        *("content_filter_raw", "kv_transfer_params", "prompt_logprobs", "sensitive_check"),
    )
)
"""Fields of a choice that says nothing."""


def _chunks(events: list[Any], call: Call | None) -> Answer | list[Answer] | None:
    """Chunks with ``choices``, of chats (``delta``) or text completions (``text``)."""
    if not any(_is_chunk(event, streamed=isinstance(events, Events)) for event in events[:BEGINNING]):
        return None
    several = call is not None and call.kind == "completion" and len(call.inputs) > 1
    pieces: list[str] = []
    places: list[int] = []
    others: list[str] = []
    wholes: list[str] = []
    usages: list[Any] = []
    finish = error = None
    first = 0 if several else _lowest_index(events)
    for event in events:
        if not isinstance(event, dict):
            raise UnreadableError
        if "usage" in event or "x_groq" in event:
            usages.append(_usage(event))
        choices = event.get("choices") or ()
        for choice in choices if several or len(choices) == 1 else _counting(choices, first):
            if not isinstance(choice, dict):
                raise UnreadableError
            get = choice.get
            at = get("index")
            if at != first and at is not None and not several and str(at) != str(first):
                continue
            if "usage" in choice:
                usages.append(choice["usage"])
            finish = get("finish_reason") or finish
            error = get("error") or error
            delta = get("delta")
            if isinstance(delta, dict):
                text = delta.get("content")
                if not text or len(delta) > 1:
                    others += _beside(delta)
                    if "content" not in delta:
                        text = messages.spoken(delta) if others == [] else None
            elif delta:
                raise UnreadableError
            else:
                text = _undivided(choice, wholes)
            if text is not None and not isinstance(text, str):
                text = content_text(text)
            if text is None:
                continue
            pieces.append(text)
            if several:
                places.append(_index(choice))
    usage = last_counts(usages)
    if several:
        assert call is not None
        texts = _by_prompt(zip(places, pieces, strict=True), len(call.inputs))
        return [Answer(text, finish, usage, error) for text in texts]
    said = "".join(pieces) if pieces else None
    if wholes:
        said = _whole(said, wholes)
    return Answer(said or "".join(others) or said, finish, usage, error)


def _beside(delta: dict[str, Any]) -> list[str]:
    """A piece of a refusal, or of what a voice says, in the content's place."""
    audio = delta.get("audio")
    found = delta.get("refusal") or (audio.get("transcript") if isinstance(audio, dict) else None)
    return [found] if isinstance(found, str) else []


def _counting(choices: Sequence[Any], first: int) -> list[Any]:
    """Of several choices those that may be the one that counts; what has no index is in order."""
    return [
        choice
        for place, choice in enumerate(choices)
        if not isinstance(choice, dict) or place == first or choice.get("index") is not None
    ]


def _undivided(choice: dict[str, Any], wholes: list[str]) -> Any:
    """The text of a choice without a delta: a piece of a text completion; a message's goes to ``wholes``."""
    if isinstance(choice.get("message"), dict):
        text = messages.spoken(choice["message"])
        wholes += [] if text is None else [text]
        return None
    if isinstance(choice.get("messages"), list):
        return _on_your_data(choice["messages"])
    text = choice.get("text")
    return text if isinstance(text, str) else None


def _whole(said: str | None, wholes: list[str]) -> str | None:
    """What the messages in a stream come to: its end, in one piece; or pieces; or each longer by a piece.

    Raises:
        UnreadableError: Nobody can tell which of them they are.
    """
    last = wholes[-1]
    if said is not None:
        if last and not last.startswith(said):
            raise UnreadableError
        return last or said
    longer = sum(after.startswith(before) for before, after in pairwise(wholes))
    if longer == len(wholes) - 1 and len(set(wholes)) != 2:
        return last
    if longer == len(wholes) - 1:
        raise UnreadableError
    return "".join(wholes)


def _on_your_data(said: list[Any]) -> str | None:
    """A piece as Azure OpenAI On Your Data's first version had it: messages with deltas, the tool's among them."""
    deltas = [one["delta"] for one in said if isinstance(one, dict) and isinstance(one.get("delta"), dict)]
    texts = [
        delta["content"]
        for delta in deltas
        if isinstance(delta.get("content"), str) and delta.get("role", messages.ASSISTANT) == messages.ASSISTANT
    ]
    return "".join(texts) if texts else None


def _lowest_index(events: list[Any]) -> int:
    """Index of the choice that counts: that of the first piece, unless a lower one comes later."""
    lowest = None
    for event in events:
        choices = event.get("choices") if isinstance(event, dict) else None
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict):
                index = _index(choice)
                if index == 0:
                    return 0
                lowest = index if lowest is None else min(index, lowest)
    return lowest or 0


def _is_chunk(event: Any, *, streamed: bool) -> bool:
    """Whether an event is a piece of an answer and not one: a list of whole answers is a batch."""
    if not isinstance(event, dict):
        return False
    kind = event.get("object")
    if isinstance(kind, str) and (kind.endswith(".chunk") or (kind == "text_completion" and "choices" in event)):
        return True
    if not isinstance(event.get("choices"), list):
        return False
    choices = event["choices"]
    if not choices:
        return "usage" in event or "prompt_filter_results" in event
    choice = choices[0]
    return isinstance(choice, dict) and ("delta" in choice or (streamed and ("text" in choice or "message" in choice)))


_MOST_CHOICES = 100_000
"""A larger index is none."""


def _by_prompt(pieces: Iterable[tuple[int, str]], prompts: int) -> list[str | None]:
    """Of a completion of several prompts the text of each one's first choice.

    Raises:
        UnreadableError: There is another number of choices than so many for each prompt.
    """
    texts: dict[int, list[str]] = {}
    for at, text in pieces:
        if not isinstance(at, int) or not 0 <= at <= _MOST_CHOICES:
            raise UnreadableError("length_mismatch")
        texts.setdefault(at, []).append(text)
    number = 1 + max(texts, default=0)
    if number % prompts:
        raise UnreadableError("length_mismatch")
    each = number // prompts
    return ["".join(texts[i * each]) if i * each in texts else None for i in range(prompts)]


def _completion_request(body: Any) -> Call | None:
    """``prompt``: a text, several, or token ids, of which there is no text to read."""
    if not isinstance(body, dict):
        return None
    prompt = body.get("prompt")
    if isinstance(prompt, str):
        system = body.get("system")  # Ollama's generate
        if isinstance(system, str) and system:
            return Call([messages.chat([prompt], system=system)], "completion")
        return Call([messages.text_input(prompt)], "completion")
    if isinstance(prompt, list) and prompt:
        ids = token_inputs(prompt)
        if ids is not None:
            return Call(ids, "completion")
        if all(isinstance(one, str) for one in limited(prompt)):
            return Call([messages.text_input(one) for one in prompt], "completion")
        if all(isinstance(one, dict) for one in prompt):
            return Call([messages.text_input(content_text(prompt, "\n"))], "completion")
        raise UnreadableError
    return None


def token_inputs(given: Any) -> list[Input] | None:
    """Inputs that are token ids: one list of numbers, or several."""
    if not isinstance(given, list) or not given:
        return None
    if all(type(one) is int for one in given):
        return [Input(messages=[])]
    if all(isinstance(one, list) and one and all(type(token) is int for token in one) for one in given):
        return [Input(messages=[]) for _ in limited(given)]
    return None


def several_completions(body: Any, prompts: int) -> list[Answer]:
    """Of a completion of several prompts what each one's first choice says.

    Raises:
        UnreadableError: There is another number of choices than so many for each prompt.
    """
    choices = body["choices"]
    if not all(isinstance(choice, dict) for choice in choices):
        raise UnreadableError
    if not choices or len(choices) % prompts:
        raise UnreadableError("length_mismatch")
    if all(type(choice.get("index")) is int for choice in choices):
        choices = sorted(choices, key=lambda choice: choice["index"])
    each = len(choices) // prompts
    answers = [_choice(choices[i * each]) for i in range(prompts)]
    if any(answer is None for answer in answers):
        raise UnreadableError
    return [answer for answer in answers if answer is not None]


def vectors(body: Any) -> list[Any] | None:
    """The vectors that were asked for, one per input; None where an answer is none.

    ``data`` of embeddings (OpenAI), ``embeddings`` (Ollama, Cohere; Gemini with ``values`` in each) or one
    ``embedding``.
    """
    if not isinstance(body, dict) or _VECTORS.isdisjoint(body) or body.get("choices") or not _is_bare(body):
        return None
    data = body.get("data")
    if isinstance(data, list) and data and isinstance(data[0], dict) and data[0].get("object") == "embedding":
        return data
    found = body.get("embeddings")
    if isinstance(found, dict):  # Cohere, by type
        found = next(iter(found.values()), None)
    if isinstance(found, list) and found and _vector(found[0]):
        return found
    return [body["embedding"]] if _vector(body.get("embedding")) else None


_VECTORS = frozenset({"data", "embeddings", "embedding"})


def _vector(value: Any) -> bool:
    if isinstance(value, dict):
        value = value.get("values")
    return isinstance(value, list) and bool(value) and isinstance(value[0], int | float)


CHAT = Family("OpenAI chat", _chat_request, _choices_answer, _chunks)
COMPLETIONS = Family("OpenAI completions", _completion_request)
