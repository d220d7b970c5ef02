"""Forms that gateways, servers and frameworks have beside the protocols, and what looks like a protocol and is none."""

from __future__ import annotations

from typing import Any

from tests.metrics.unpack.cases import Case, assistant, lines, sse, system, twice, user

ASKED, SAID = "Which bolt fits?", "The green one."
ASK = {"messages": [user(ASKED)]}
COUNTED = {"input_tokens": 1, "output_tokens": 2}
RESULT = {"type": "tool_result", "tool_use_id": "t", "content": "17"}
PICTURE = {"type": "image", "source": {"type": "base64", "data": "AA=="}}
BLOCKS = [{"block_type": "text", "text": SAID}]


def answered(response: Any, text: str | None = SAID, **more: Any) -> Case:
    return Case(ASK, response, [(ASKED, text)], **more)


def asked(request: Any, prompt: str | None = ASKED, **more: Any) -> Case:
    return Case(request, assistant(SAID), [(prompt, SAID)], **more)


def failed(response: Any, text: str | None = None, **more: Any) -> Case:
    return Case(ASK, response, [(ASKED, text)], error=True, **more)


def unknown(response: Any) -> Case:
    return Case(ASK, response, reason="unknown_response_shape")


def choices(*choices: Any, **more: Any) -> dict[str, Any]:
    return {"choices": list(choices), **more}


def chunks(*deltas: Any, **more: Any) -> list[Any]:
    return [{"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": one, **more}]} for one in deltas]


TAGS = "Put it into tags:\n\n<reasoning>\n  why\n</reasoning>\n\nDone."
CODE = "Like this:\n```\n<think>\nplan\n</think>\n```\nDone."

CASES: dict[str, Case] = {
    # Candidates and usage_metadata are not Gemini's alone.
    "custom: usage_metadata beside an answer": answered({"answer": SAID, "usage_metadata": COUNTED}),
    "custom: usage_metadata beside an output": answered({"output": SAID, "usage_metadata": COUNTED}),
    "custom: no candidates beside an answer": answered({"answer": SAID, "candidates": []}),
    "custom: candidates of another kind": answered({"candidates": [{"name": "Jane", "score": 1}], "answer": SAID}),
    "langgraph: usage_metadata beside messages": answered({"messages": [assistant(SAID)], "usage_metadata": COUNTED}),
    "candidates of no known kind": unknown({"candidates": [{"name": "Jane", "score": 1}]}),
    "gateway: completions": answered(
        {"candidates": [{"text": SAID, "metadata": {"finish_reason": "stop"}}], "metadata": {"input_tokens": 5}},
        tokens=(5, None, None, None),
        finish_reason="stop",
    ),
    "gateway: chat": answered({"candidates": [{"message": assistant(SAID), "metadata": {}}]}),
    "palm: output": answered({"candidates": [{"output": SAID, "safetyRatings": []}]}),
    "gemini: text without parts": answered({"candidates": [{"content": {"text": SAID}}]}),
    "gemini: a candidate that is blocked": answered(
        {"candidates": [{"finishReason": "SAFETY", "safetyRatings": []}]}, None, finish_reason="SAFETY"
    ),
    "gemini: counts of the SDK": answered(
        {
            "candidates": [{"content": {"parts": [{"text": SAID}], "role": "model"}}],
            "usage_metadata": {
                "prompt_token_count": 9,
                "candidates_token_count": 4,
                "thoughts_token_count": 3,
                "cached_content_token_count": 2,
                "tool_use_prompt_token_count": 6,
                "total_token_count": 22,
            },
        },
        tokens=(15, 7, 2, None),
    ),
    # What is no answer of the agent's.
    "messages: the question alone": answered({"messages": [user(ASKED)]}, None),
    "messages: an interrupt": answered(
        {"messages": [{"type": "human", "content": ASKED}], "__interrupt__": [{"value": "go on?"}]}, None
    ),
    "messages: the question beside an answer": answered({"messages": [user(ASKED)], "answer": SAID}),
    "messages: a tool's output alone": answered({"messages": [{"role": "tool", "content": "17"}]}, None),
    "messages: the answer before the last question": answered(
        {"messages": [user("Hi"), assistant("Hello"), user(ASKED)]}, None
    ),
    "messages: another word for the agent": answered(
        {"messages": [assistant("Hello"), user(ASKED), {"role": "agent", "content": SAID}]}
    ),
    "messages: pairs": answered({"messages": [["human", ASKED], ["ai", SAID]]}),
    # Contents in other places.
    "llamaindex: blocks": Case(
        {"messages": [{"role": "user", "blocks": [{"block_type": "text", "text": ASKED}]}]},
        {"message": {"role": "assistant", "blocks": BLOCKS}},
        [(ASKED, SAID)],
    ),
    "sharegpt: from and value": asked({"messages": [{"from": "human", "value": ASKED}]}),
    "a user's items": asked({"messages": [{"role": "user", "items": [{"text": ASKED}]}]}),
    "a user's text under an unknown key": Case(
        {"messages": [{"role": "user", "utterance": ASKED}]}, assistant(SAID), reason="unknown_request_shape"
    ),
    "author: user and bot": asked(
        {"messages": [{"author": "user", "content": ASKED}, {"author": "bot", "content": "Hm."}]}
    ),
    "author: an object": asked({"messages": [{"author": {"role": "user"}, "content": {"parts": [ASKED]}}]}),
    "a customer": asked({"messages": [user("Hi"), {"role": "customer", "content": ASKED}]}, turn=2),
    "a speaker that nobody knows, after the user": Case(
        {"messages": [user("Hi"), {"role": "zebra", "content": ASKED}]},
        assistant(SAID),
        reason="unknown_request_shape",
    ),
    "a speaker that nobody knows, before the user": asked(
        {"messages": [{"role": "zebra", "content": "Hi"}, user(ASKED)]}
    ),
    "documents after the user": asked({"messages": [user(ASKED), {"role": "document", "content": "Bolts."}]}),
    "no messages beside a question": asked({"messages": [], "query": ASKED}),
    "choice: text in the message": answered(choices({"message": {"role": "assistant", "text": SAID}})),
    "choice: parts in the message": answered(choices({"message": {"role": "assistant", "parts": [{"text": SAID}]}})),
    "choice: a message that is a text": answered(
        choices({"message": SAID, "finish_reason": "stop"}), finish_reason="stop"
    ),
    "choice: text in a field that nobody knows": unknown(choices({"utterance": SAID, "finish_reason": "stop"})),
    "choice: message with a field that nobody knows": unknown(
        choices({"message": {"role": "assistant", "said": SAID}})
    ),
    "choice: only a call of a tool, and a field that nobody knows": answered(
        choices({"message": {"role": "assistant", "tool_calls": [{"id": "c"}], "mood": "glad"}}), None
    ),
    "choices: none beside an answer": answered({"choices": [], "answer": SAID}),
    "bedrock: text in the message": answered({"output": {"message": {"role": "assistant", "text": SAID}}}),
    "content: nothing beside an answer": answered({"content": [], "answer": SAID}),
    "content: documents beside an answer": answered(
        {"content": [{"text": "Bolts."}, {"text": "Nuts."}], "answer": SAID}
    ),
    "stream: text in the delta": answered(chunks({"role": "assistant"}, {"text": "The green "}, {"text": "one."})),
    "stream: messages in the choice (On Your Data)": answered(
        sse(
            [
                {
                    "object": "extensions.chat.completion.chunk",
                    "choices": [{"index": 0, "messages": [{"delta": delta, "index": 0}]}],
                }
                for delta in (
                    {"role": "tool", "content": "documents"},
                    {"role": "assistant"},
                    {"content": "The green "},
                    {"content": "one."},
                )
            ]
        )
    ),
    "stream: pieces of a message": answered(
        sse(
            [
                {"choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "delta": None}]}
                for text in ("The green ", "one.")
            ]
        )
    ),
    "stream: the whole message at its end": answered(
        [*chunks({"content": "The green "}, {"content": "one."}), choices({"index": 0, "message": assistant(SAID)})]
    ),
    "stream: choices without an index": answered(
        [
            {
                "object": "chat.completion.chunk",
                "choices": [{"delta": {"content": one}}, {"delta": {"content": "x"}}],
            }
            for one in ("The green ", "one.")
        ]
    ),
    "stream: an index as text": answered(
        [
            {"object": "chat.completion.chunk", "choices": [{"index": at, "delta": {"content": one}}]}
            for at, one in (("0", "The green "), ("1", "x"), ("0", "one."))
        ]
    ),
    "stream: counts in the choice": answered(
        chunks({"content": SAID}, usage={"prompt_tokens": 3, "completion_tokens": 4}), tokens=(3, 4, None, None)
    ),
    "stream: with a mark of its byte order": answered("\ufeff" + sse(chunks({"content": SAID}))),
    # Reasoning.
    "reasoning: tags that the answer is about": answered({"answer": TAGS}, TAGS),
    "reasoning: opened and closed in the answer": answered({"answer": CODE}, CODE),
    "reasoning: opened by the template": answered({"answer": "Hm.\n</think>\nThe green one."}),
    # Prompts.
    "gemini: a function's response and its picture": Case(
        {
            "contents": [
                {"role": "user", "parts": [{"text": ASKED}]},
                {"role": "model", "parts": [{"functionCall": {"name": "f"}}]},
                {"role": "user", "parts": [{"functionResponse": {"name": "f"}}, {"inlineData": {"data": "AA=="}}]},
            ]
        },
        {"candidates": [{"content": {"parts": [{"text": SAID}]}}]},
        [(ASKED, SAID)],
    ),
    "anthropic: a tool's result and its picture": asked({"messages": [user(ASKED), user([RESULT, PICTURE])]}),
    "anthropic: a tool's result and an empty text": asked(
        {"messages": [user(ASKED), user([RESULT, {"type": "text", "text": ""}])]}
    ),
    "anthropic: a tool's result and a question": asked(
        {"messages": [user("Hi"), user([RESULT, {"type": "text", "text": ASKED}])]}, turn=2
    ),
    "responses: a stored prompt": Case(
        {"prompt": {"id": "pmpt_1", "version": "2", "variables": {"bolt": "M8"}}},
        {"object": "response", "output": [{"type": "message", **assistant(SAID)}]},
        [(None, SAID)],
        turn=0,
    ),
    "records: a system text": asked({"dataframe_records": [{"query": ASKED, "system": "Be brief."}]}),
    "langserve: pairs": asked({"input": [["system", "Be brief."], ["human", ASKED]]}),
    # LangChain.
    "langchain: a refusal": answered(
        {"type": "ai", "content": "", "additional_kwargs": {"refusal": "I can't."}}, "I can't."
    ),
    "langchain: the last piece without an id": answered(
        lines(
            [
                {"type": "AIMessageChunk", "id": of, "content": text}
                for of, text in (("run-1", "The green "), ("run-1", "one."), (None, ""))
            ]
        )
    ),
    "langchain: pieces of a tool's input": answered(
        lines(
            [
                {"type": "AIMessageChunk", "id": "r", "content": [part]}
                for part in ({"type": "text", "text": SAID}, {"type": "input_json_delta", "partial_json": "{"})
            ]
        )
    ),
    "langchain: counts of the provider": answered(
        {
            "type": "ai",
            "content": SAID,
            "response_metadata": {
                "token_usage": {"prompt_tokens": 8, "completion_tokens": 5},
                "finish_reason": "stop",
            },
        },
        tokens=(8, 5, None, None),
        finish_reason="stop",
    ),
    "langserve: text and then a failure": failed(
        sse(["The green ", {"status_code": 500, "message": "Internal Server Error"}, {"error": "overloaded"}]),
        "The green ",
    ),
    "chatagent: the last piece without an id": answered(
        [
            {"delta": {"role": "assistant", "content": text, "id": of}}
            for text, of in (("The green ", "m"), ("one.", "m"), ("", None))
        ]
    ),
    # Encoded twice.
    "predictions: a completion as text": answered(
        {"predictions": ['{"choices": [{"message": {"role": "assistant", "content": "The green one."}}]}']}
    ),
    "predictions: an agent's state as text": answered(
        {"predictions": '{"messages": [{"role": "assistant", "content": "The green one."}]}'}
    ),
    "predictions: an answer in JSON": answered({"predictions": ['{"colour": "green"}']}, '{"colour": "green"}'),
    "custom: answer encoded twice": answered(twice({"answer": SAID})),
    "custom: request encoded twice": asked(twice({"query": ASKED})),
    "predictions: an answer in JSON with a code": answered(
        {"predictions": ['{"code": "US", "message": "United States"}']}, '{"code": "US", "message": "United States"}'
    ),
    "predictions: an answer in JSON with an error": answered(
        {"predictions": ['{"error": "no address found"}']}, '{"error": "no address found"}'
    ),
    "predictions: an answer in JSON of vectors": answered(
        {"predictions": ['{"embedding": [1, 2]}']}, '{"embedding": [1, 2]}'
    ),
    "predictions: an answer in JSON of choices": answered(
        {"predictions": ['{"choices": [{"text": "3"}], "answer": "4"}']}, '{"choices": [{"text": "3"}], "answer": "4"}'
    ),
    "custom: vectors beside an answer": answered({"answer": SAID, "embedding": [0.1, 0.2]}),
    "chat: vectors beside choices": answered({**choices({"message": assistant(SAID)}), "embeddings": [[0.1]]}),
    "custom: the choices of a question": answered(
        {"question": "2+2?", "choices": [{"text": "3"}, {"text": "4"}], "answer": SAID}
    ),
    "custom: results of a search in words": unknown({"results": ["doc1", "doc2"]}),
    # Agents among several.
    "langgraph: a result in the name of an agent": answered(
        {"messages": [{"type": "human", "content": ASKED}, {"type": "human", "name": "Researcher", "content": SAID}]}
    ),
    "autogen: who asks and who writes": answered(
        {"messages": [user(ASKED) | {"name": "admin"}, user(SAID) | {"name": "writer"}]}
    ),
    "langgraph: updates in the name of a node": answered(
        lines(
            [
                {"supervisor": {"next": "researcher"}},
                {"researcher": {"messages": [{"type": "human", "name": "researcher", "content": SAID}]}},
                {"supervisor": {"next": "FINISH"}},
            ]
        )
    ),
    "langgraph: an answer in a field that nobody knows": unknown({"messages": [user(ASKED)], "final_answer": SAID}),
    "langgraph: counts of an earlier turn": answered(
        {
            "messages": [
                {"type": "human", "content": "Hi"},
                {
                    "type": "ai",
                    "content": "Hello",
                    "usage_metadata": COUNTED,
                    "response_metadata": {"finish_reason": "stop"},
                },
                {"type": "human", "content": ASKED},
            ]
        },
        None,
    ),
    "messages: an agent's own role, after the assistant": answered(
        {"messages": [assistant("Hm."), {"role": "researcher", "content": SAID}]}
    ),
    # Whole messages within streams.
    "stream: messages each longer by a piece": answered(
        sse([choices({"index": 0, "message": assistant(text)}) for text in ("The ", "The green ", SAID)])
    ),
    "stream: messages that nobody can tell apart": unknown(
        sse([choices({"index": 0, "message": assistant(text)}) for text in ("ha", "haha")])
    ),
    "stream: pieces and another message": unknown(
        [*chunks({"content": "Hel"}), choices({"index": 0, "message": assistant("lo")})]
    ),
    "stream: a piece in a field that nobody knows": unknown(chunks({"role": "assistant", "speech": SAID})),
    "stream: parts of a piece": answered(chunks({"parts": [{"text": SAID}]})),
    "anthropic: a piece of a kind that nobody knows": unknown(
        sse([{"type": "content_block_delta", "index": 0, "delta": {"type": "refusal_delta", "refusal": "no"}}])
    ),
    # Requests that end in something else than the user's message.
    **{
        f"responses: ends in {name}": asked({"input": [user(ASKED), item]})
        for name, item in {
            "a reference": {"id": "msg_1"},
            "an item of a new kind": {"type": "context_compaction", "encrypted_content": "x"},
            "a tool's result": {"role": "tool_result", "content": "17"},
            "a document": {"role": 'document {"document_id": "1"}', "content": "Bolts."},
            "what was removed": {"type": "remove", "id": "x", "content": ""},
        }.items()
    },
    "a history and a question": asked({"messages": [user("Hi"), assistant("Hello")], "question": ASKED}, turn=2),
    "a system text and a prompt": asked({"messages": [system("Be brief.")], "prompt": ASKED}),
    "a user's document and question": asked(
        {"messages": [user([{"type": "document", "text": "Bolts."}, {"type": "text", "text": ASKED}])]}
    ),
    # Messages without content.
    **{
        f"choice: cut off, with {name}": answered(
            choices({"message": {"role": "assistant", name: value}, "finish_reason": "length"}),
            None,
            finish_reason="length",
        )
        for name, value in {
            "extra_content": {"google": {"thought_signature": "x"}},
            "executed_tools": [{"type": "search", "output": "x"}],
            "reasoning_signature": "x",
            "conversation_id": "x",
        }.items()
    },
    **{
        f"choice: filtered, with {name}": answered(
            choices({"index": 0, "finish_reason": "content_filter", name: value}), None, finish_reason="content_filter"
        )
        for name, value in {
            "safety_ratings": [{"category": "x"}],
            "finish_message": "blocked",
            "kv_transfer_params": None,
        }.items()
    },
    "choice: null content and a text": answered(choices({"message": assistant(None, text=SAID)})),
    "choice: empty content and parts": answered(choices({"message": assistant("", parts=[{"text": SAID}])})),
    "content: text and a citation": answered(
        {"content": [{"type": "text", "text": SAID}, {"type": "citation", "text": "zz"}], "stop_reason": "end_turn"},
        finish_reason="end_turn",
    ),
    "gemini: blocked, with an agent's trace": answered(
        {"promptFeedback": {"blockReason": "SAFETY"}, "databricks_output": {"trace": {"info": {}}}},
        None,
        finish_reason="SAFETY",
    ),
    "gemini: a last chunk with a score": answered(
        sse(
            [
                {"candidates": [{"content": {"parts": [{"text": SAID}]}}]},
                {"candidates": [{"finishReason": "STOP", "index": 0, "score": 0.1, "output": None}]},
            ]
        ),
        finish_reason="STOP",
    ),
    "vertex: chat-bison": answered({"predictions": [{"candidates": [{"author": "1", "content": SAID}]}]}),
    # Reasoning in other forms.
    **{
        f"reasoning: {text[:12]!r}": answered({"answer": text})
        for text in (
            f"Hm.</think>\n\n{SAID}",
            f'<think time="3">Hm.</think>{SAID}',
            f"[THINK]Hm.[/THINK]{SAID}",
            f"◁think▷Hm.◁/think▷{SAID}",
            f"<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>{SAID}<|return|>",
        )
    },
    "reasoning: a tag in a sentence": answered(
        {"answer": "Close it with </think> and go on."}, "Close it with </think> and go on."
    ),
    # Failures.
    **{
        f"stream: {name}": failed([*chunks({"content": "The"}), event], "The")
        for name, event in {
            "vLLM's error": {"object": "error", "message": "x", "type": "InternalServerError", "code": 500},
            "a code and a message": {"code": "InternalError", "message": "x"},
            "a detail": {"detail": "boom"},
            "a time-out of Bedrock's": {"modelTimeoutException": {"message": "x"}},
        }.items()
    },
    "anthropic: a failure of Bedrock's": failed(
        [
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "The"}},
            {"modelStreamErrorException": {"message": "x"}},
        ],
        "The",
    ),
    "gemini: a failure in the stream": failed(
        [
            {"candidates": [{"content": {"parts": [{"text": "The"}]}}]},
            {"code": 500, "message": "x", "status": "INTERNAL"},
        ],
        "The",
    ),
    "predictions: an object with a code": unknown({"predictions": [{"code": "US", "name": "United States"}]}),
    "custom: status error": failed({"answer": "Sorry.", "status": "error"}, "Sorry."),
    "custom: no success": failed({"answer": "Sorry.", "success": False}, "Sorry."),
    "custom: a success": answered({"answer": SAID, "success": True, "errors": [], "status": "ok"}),
    "choices beside errors": failed({**choices({"message": assistant("Oh.")}), "errors": [{"message": "x"}]}, "Oh."),
    "error: not there, in words": answered({**choices({"message": assistant(SAID)}), "error": "N/A"}),
    "error: empty within": answered(
        {**choices({"message": assistant(SAID)}), "error": {"message": "", "type": None, "details": {"a": None}}}
    ),
    "predictions: an error beside them": failed({"predictions": [SAID], "error": {"code": "x"}}, SAID),
    "predictions: an agent's error": failed({"predictions": [SAID], "databricks_output": {"error": {"code": 1}}}, SAID),
    "cohere: finish_reason ERROR": failed(
        {"message": {"role": "assistant", "content": []}, "finish_reason": "ERROR"}, finish_reason="ERROR"
    ),
    "cohere: finish_reason TIMEOUT": failed(
        {"message": {"role": "assistant", "content": []}, "finish_reason": "TIMEOUT"}, finish_reason="TIMEOUT"
    ),
    "custom: finish_reason error": failed({"answer": "Oh.", "finish_reason": "error"}, "Oh.", finish_reason="error"),
    "langchain: finish_reason error": failed(
        {"type": "ai", "content": "", "response_metadata": {"finish_reason": "error"}}, "", finish_reason="error"
    ),
    "choice: finish_reason error beside an empty error": failed(
        choices({"message": assistant("Oh."), "finish_reason": "error", "error": {"code": None}}),
        "Oh.",
        finish_reason="error",
    ),
    "groq: x_groq.error": failed([*chunks({"content": "The"}), choices(x_groq={"error": "over_capacity"})], "The"),
    "no choices, and error_code": failed({"choices": [], "error_code": "X"}),
    "no choices, and code": failed({"choices": None, "code": "RateLimit"}),
    "no prediction, and error_code": failed({"predictions": [None], "error_code": "X"}),
    "custom: error_code": failed({"answer": "Sorry.", "error_code": "RATE_LIMIT"}, "Sorry."),
    "fastchat: error_code": failed({"text": "**NETWORK ERROR**", "error_code": 50001}, "**NETWORK ERROR**"),
    "fastchat: no error_code": answered({"text": SAID, "error_code": 0}),
    "minimax: base_resp": failed({"choices": None, "base_resp": {"status_code": 1002, "status_msg": "limit"}}),
    "minimax: a good base_resp": answered(
        {**choices({"message": assistant(SAID)}), "base_resp": {"status_code": 0, "status_msg": ""}}
    ),
    "vllm: object error": failed({"object": "error", "message": "too long", "type": "BadRequestError", "code": 400}),
    "bedrock: a stream of a failure alone": failed([{"throttlingException": {"message": "slow down"}}]),
    "langgraph: __error__": failed({"__error__": {"error": "ValueError", "message": "?"}}),
    "error: none, in words": answered({**choices({"message": assistant(SAID)}), "error": "none"}),
    "error: zeros and empty texts": answered(
        {**choices({"message": assistant(SAID)}), "error": {"code": 0, "message": ""}}
    ),
    "code: a success of no known form": unknown({"code": "success", "data": {"reply": SAID}}),
    "code: a success in numbers, of no known form": unknown({"code": 200, "message": "fine", "data": {"reply": SAID}}),
    "code: a success beside an answer": answered({"code": 200, "message": "fine", "answer": SAID}),
    # Bedrock's models by themselves, and others.
    "bedrock: Titan": answered(
        {
            "inputTextTokenCount": 5,
            "results": [{"tokenCount": 7, "outputText": SAID, "completionReason": "FINISH"}],
        },
        tokens=(5, None, None, None),
        finish_reason="FINISH",
    ),
    "bedrock: Llama": answered(
        {"generation": SAID, "prompt_token_count": 5, "generation_token_count": 7, "stop_reason": "stop"},
        finish_reason="stop",
    ),
    "bedrock: Mistral": answered({"outputs": [{"text": SAID, "stop_reason": "stop"}]}, finish_reason="stop"),
    "anthropic: completions of before": answered(
        {"type": "completion", "completion": SAID, "stop_reason": "stop_sequence"}, finish_reason="stop_sequence"
    ),
    "haystack: replies": answered({"replies": [SAID]}),
    "results of a search are no answer": unknown({"results": [{"title": "Bolts", "text": "Bolts and nuts."}]}),
    "ollama: embeddings": Case(
        {"model": "m", "input": [ASKED, "Hm?"]},
        {"model": "m", "embeddings": [[0.1, 0.2], [0.3, 0.4]], "prompt_eval_count": 6},
        [(ASKED, None), ("Hm?", None)],
        turn=None,
    ),
    # Counts.
    "deepseek: tokens from the cache": answered(
        {
            **choices({"message": assistant(SAID)}),
            "usage": {
                "prompt_tokens": 9,
                "completion_tokens": 4,
                "prompt_cache_hit_tokens": 6,
                "prompt_cache_miss_tokens": 3,
            },
        },
        tokens=(9, 4, 6, None),
    ),
    **{
        f"reasoning {where} the answer's count": answered(
            {
                **choices({"message": assistant(SAID)}),
                "usage": {
                    "prompt_tokens": 5,
                    "completion_tokens": said,
                    "total_tokens": 12,
                    "completion_tokens_details": {"reasoning_tokens": 4},
                },
            },
            tokens=(5, 7, None, None),
        )
        for where, said in {"beside": 3, "within": 7}.items()
    },
    "counts under all names, zero where they don't count": answered(
        {
            **choices({"message": assistant(SAID)}),
            "usage": {"prompt_tokens": 0, "input_tokens": 7, "completion_tokens": 0, "output_tokens": 4},
        },
        tokens=(7, 4, None, None),
    ),
    "anthropic: a stream that broke off in a call": answered(
        sse(
            [
                {"type": "message_start", "message": {"usage": {"input_tokens": 9, "output_tokens": 1}}},
                {"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "name": "f"}},
                {
                    "type": "content_block_delta",
                    "index": 0,
                    "delta": {"type": "input_json_delta", "partial_json": "{"},
                },
            ],
            event="type",
        ),
        None,
        tokens=(9, None, None, None),
    ),
    "a code in another script is no code": failed({"error": "用户张三的请求包含敏感词"}),
    "a system text alone": Case({"messages": [system("Be brief.")]}, assistant(SAID), [(None, SAID)], turn=0),
}
