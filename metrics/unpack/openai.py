"""OpenAI's protocols, which most servers speak: chat and text completions, and embeddings.

chunks.py has their streams, responses.py the Responses API.

Source: OpenAI API reference ("Chat", "Completions", "Embeddings"); Databricks, "Foundation model REST API
reference" (content parts in chunks); OpenRouter (``finish_reason: error``), Groq (``x_groq.usage``).
"""

from __future__ import annotations

from typing import Any

from metrics.unpack import messages
from metrics.unpack.chunks import index_of, read_chunks, usage_of
from metrics.unpack.contents import content_text, says_elsewhere
from metrics.unpack.shapes import MAX_INPUTS, Answer, Call, Family, Input, UnreadableError

__all__ = ["CHAT", "COMPLETIONS", "limited", "several_completions", "token_inputs", "vectors"]


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
        return Answer(usage=usage_of(body)) if _is_bare(body) else None
    if not isinstance(choices, list):
        return None
    choice = first_choice(choices)
    if choice is None:
        return Answer(usage=usage_of(body)) if _is_bare(body) else None
    if isinstance(choice, dict) and "message" not in choice and not _is_bare(body):
        return None  # the choices of a question
    answer = _choice(choice)
    if answer is not None:
        answer.usage = usage_of(body)
    return answer


_OTHER_ANSWERS = (
    *("predictions", "output", "content", "messages", "candidates", "message", "result", "answer"),
    *("output_text", "response", "generated_text", "text"),
)


def _is_bare(body: dict[str, Any]) -> bool:
    return not any(body.get(name) for name in _OTHER_ANSWERS)


def first_choice(choices: list[Any]) -> Any:
    """The choice with the lowest index; None where there is none. What has no index is in order."""
    if not choices:
        return None
    first = choices[0]
    if not isinstance(first, dict) or index_of(first) == 0:
        return first
    return min((one for one in choices if isinstance(one, dict)), key=index_of)


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


CHAT = Family("OpenAI chat", _chat_request, _choices_answer, read_chunks)
COMPLETIONS = Family("OpenAI completions", _completion_request)
