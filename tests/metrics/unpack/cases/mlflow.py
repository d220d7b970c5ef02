"""What MLflow's scoring server takes and gives: agents, tables, tensors, and what a gateway's guardrails say."""

from __future__ import annotations

import json
from typing import Any

from tests.metrics.unpack.cases import Case, assistant, cut, sse, twice, user

PROMPT = "When is the library open?"
ANSWER = "From nine to six."
CHAT_AGENT = {
    "messages": [{"id": "m-1", **user(PROMPT)}],
    "context": {"conversation_id": "conv-3", "user_id": "reader-8"},
    "custom_inputs": {"branch": "north"},
    "stream": False,
}
CALL = {"id": "call_l1", "type": "function", "function": {"name": "hours", "arguments": "{}"}}
CALLING = {"id": "m-2", **assistant(None, tool_calls=[CALL])}
TOOL = {"id": "m-3", "role": "tool", "name": "hours", "tool_call_id": "call_l1", "content": "9-18"}
TOKENS = {"prompt_tokens": 31, "completion_tokens": 6, "total_tokens": 37}


def agent(*messages: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A ChatAgent's answer."""
    return {"messages": list(messages), "custom_outputs": None} | more


def delta(content: Any, message: str = "m-4", role: str = "assistant", **more: Any) -> dict[str, Any]:
    """A ChatAgent's chunk."""
    return {"delta": {"role": role, "content": content, "id": message}, **more}


AGENT_CHUNKS = [delta("From "), delta("nine "), delta("to six.")]


def item(*texts: str, name: str = "msg_l1") -> dict[str, Any]:
    """A message item of a ResponsesAgent."""
    parts = [{"type": "output_text", "text": text, "annotations": []} for text in texts]
    return {"type": "message", "id": name, "role": "assistant", "content": parts}


def responses(*items: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A ResponsesAgent's answer."""
    return {"object": "response", "output": list(items), "custom_outputs": {"branch": "north"}} | more


RESPONSES_ASK = {"input": [user(PROMPT)], "custom_inputs": {"branch": "north"}, "context": {"user_id": "reader-8"}}
FUNCTION_CALL = {"type": "function_call", "id": "fc_1", "call_id": "call_l1", "name": "hours", "arguments": "{}"}
FUNCTION_OUTPUT = {"type": "function_call_output", "call_id": "call_l1", "output": "9-18"}
REASONING = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "The hours tool knows."}]}


def text_delta(value: str, name: str = "msg_l1") -> dict[str, Any]:
    """A piece of a message item."""
    return {"type": "response.output_text.delta", "item_id": name, "delta": value}


def done(value: dict[str, Any]) -> dict[str, Any]:
    """A finished item."""
    return {"type": "response.output_item.done", "item": value}


def split(columns: list[str], *rows: list[Any]) -> dict[str, Any]:
    """A table by its rows."""
    return {"dataframe_split": {"index": list(range(len(rows))), "columns": columns, "data": list(rows)}}


def records(*rows: dict[str, Any]) -> dict[str, Any]:
    """A table by its records."""
    return {"dataframe_records": list(rows)}


def predictions(*answers: Any) -> dict[str, Any]:
    """What a model of the scoring server says."""
    return {"predictions": list(answers)}


def chat(content: str, usage: dict[str, int] | None = None) -> dict[str, Any]:
    """A whole answer in chat form."""
    found = {
        "object": "chat.completion",
        "choices": [{"index": 0, "message": assistant(content), "finish_reason": "stop"}],
    }
    return found | ({} if usage is None else {"usage": usage})


TWO = [user("Is there a café?"), assistant("There is."), user(PROMPT)]
GUARDED = {
    "usage": {},
    "input_guardrail": [{"flagged": True, "categories": {"violent_crimes": True}, "pii_detection": False}],
    "finishReason": "input_guardrail_triggered",
}

CASES: dict[str, Case] = {
    "chat agent: object": Case(
        CHAT_AGENT,
        agent({"id": "m-4", **assistant(ANSWER)}, finish_reason="stop", usage=TOKENS),
        [(PROMPT, ANSWER)],
        (31, 6, None, None),
        finish_reason="stop",
    ),
    "chat agent: the messages of its tools, then the answer": Case(
        CHAT_AGENT,
        agent({"id": "m-0", **assistant("Let me see.", tool_calls=[CALL])}, TOOL, {"id": "m-4", **assistant(ANSWER)}),
        [(PROMPT, ANSWER)],
    ),
    "chat agent: tool calls only": Case(
        CHAT_AGENT, agent(CALLING, finish_reason="tool_calls"), [(PROMPT, None)], finish_reason="tool_calls"
    ),
    "chat agent: tool results last": Case(
        {"messages": [{"id": "m-1", **user(PROMPT)}, CALLING, TOOL]},
        agent({"id": "m-4", **assistant(ANSWER)}),
        [(PROMPT, ANSWER)],
    ),
    "chat agent: second turn": Case(
        CHAT_AGENT | {"messages": TWO}, agent({"id": "m-4", **assistant(ANSWER)}), [(PROMPT, ANSWER)], turn=2
    ),
    "chat agent: attachments beside the answer": Case(
        CHAT_AGENT,
        agent({"id": "m-4", **assistant(ANSWER, attachments={"map": "https://maps.example.com/north"})}),
        [(PROMPT, ANSWER)],
    ),
    "chat agent: list of chunks": Case(CHAT_AGENT, AGENT_CHUNKS, [(PROMPT, ANSWER)]),
    "chat agent: event stream with usage": Case(
        CHAT_AGENT,
        sse([*AGENT_CHUNKS, delta("", finish_reason="stop", usage=TOKENS)], done=True),
        [(PROMPT, ANSWER)],
        (31, 6, None, None),
        finish_reason="stop",
    ),
    "chat agent: event stream with a tool": Case(
        CHAT_AGENT,
        sse([delta("Let me see.", "m-0"), delta("9-18", "m-3", "tool"), *AGENT_CHUNKS], done=True),
        [(PROMPT, ANSWER)],
    ),
    "chat agent: stream whose end is missing": Case(CHAT_AGENT, sse(AGENT_CHUNKS[:2]), [(PROMPT, "From nine ")]),
    "chat agent: stream cut in its last frame": Case(CHAT_AGENT, cut(sse(AGENT_CHUNKS)), [(PROMPT, "From nine ")]),
    "chat agent: stream with an error event": Case(
        CHAT_AGENT,
        sse([*AGENT_CHUNKS[:1], {"error": {"error_code": "INTERNAL_ERROR", "message": "It broke"}}]),
        [(PROMPT, "From ")],
        error=True,
    ),
    "chat agent: an error told by the platform beside the answer": Case(
        CHAT_AGENT,
        agent(
            {"id": "m-4", **assistant("From")}, databricks_output={"error": {"error_code": "TIMEOUT", "message": "t"}}
        ),
        [(PROMPT, "From")],
        error=True,
    ),
    "chat agent: a trace, and an error that is none": Case(
        CHAT_AGENT | {"databricks_options": {"return_trace": True}},
        agent({"id": "m-4", **assistant(ANSWER)}, databricks_output={"trace": {"info": {}, "data": {}}, "error": None}),
        [(PROMPT, ANSWER)],
    ),
    "responses agent: object": Case(
        RESPONSES_ASK,
        responses(item(ANSWER), usage={"input_tokens": 12, "output_tokens": 7, "total_tokens": 19}),
        [(PROMPT, ANSWER)],
        (12, 7, None, None),
    ),
    "responses agent: reasoning, a call, its output, and the answer": Case(
        RESPONSES_ASK,
        responses(
            REASONING, item("One moment.", name="msg_l0"), FUNCTION_CALL, FUNCTION_OUTPUT, item("From nine ", "to six.")
        ),
        [(PROMPT, ANSWER)],
    ),
    "responses agent: function call only": Case(RESPONSES_ASK, responses(FUNCTION_CALL), [(PROMPT, None)]),
    "responses agent: function output last": Case(
        {"input": [user(PROMPT), FUNCTION_CALL, FUNCTION_OUTPUT]}, responses(item(ANSWER)), [(PROMPT, ANSWER)]
    ),
    "responses agent: second turn": Case(
        {"input": [user("Is there a café?"), item("There is."), {"type": "message", **user(PROMPT)}]},
        responses(item(ANSWER)),
        [(PROMPT, ANSWER)],
        turn=2,
    ),
    "responses agent: list of events": Case(
        RESPONSES_ASK,
        [text_delta("From nine "), text_delta("to six."), done(item(ANSWER))],
        [(PROMPT, ANSWER)],
    ),
    "responses agent: event stream of several items": Case(
        RESPONSES_ASK,
        sse(
            [
                text_delta("One moment.", "msg_l0"),
                done(item("One moment.", name="msg_l0")),
                done(FUNCTION_CALL),
                done(FUNCTION_OUTPUT),
                text_delta("From nine "),
                text_delta("to six."),
                done(item(ANSWER)),
            ],
            done=True,
        ),
        [(PROMPT, ANSWER)],
    ),
    "responses agent: stream whose end is missing": Case(
        RESPONSES_ASK, sse([text_delta("From "), text_delta("nine ")]), [(PROMPT, "From nine ")]
    ),
    "responses agent: stream cut in its last frame": Case(
        RESPONSES_ASK,
        cut(sse([text_delta("From "), text_delta("nine "), done(item(ANSWER))])),
        [(PROMPT, "From nine ")],
    ),
    "responses agent: the stream's last event tells an error": Case(
        RESPONSES_ASK,
        sse([text_delta("From "), {"databricks_output": {"error": {"error_code": "TIMEOUT", "message": "Too late"}}}]),
        [(PROMPT, "From ")],
        error=True,
    ),
    "responses agent: an error event": Case(
        RESPONSES_ASK,
        [text_delta("From "), {"type": "error", "code": "tool_failed", "message": "hours", "param": None}],
        [(PROMPT, "From ")],
        error=True,
    ),
    "split chat: object": Case({"query": PROMPT, "history": TWO[:2]}, {"content": ANSWER}, [(PROMPT, ANSWER)], turn=2),
    "split chat: without a history": Case({"query": PROMPT, "history": []}, {"content": ANSWER}, [(PROMPT, ANSWER)]),
    "dataframe_split: messages": Case(split(["messages"], [TWO]), predictions(ANSWER), [(PROMPT, ANSWER)], turn=2),
    "dataframe_split: a query among other columns": Case(
        split(["k", "query", "lang"], [4, PROMPT, "en"]),
        predictions({"result": ANSWER, "sources": []}),
        [(PROMPT, ANSWER)],
    ),
    "dataframe_split: several rows": Case(
        split(["query"], ["Q one"], ["Q two"], ["Q three"]),
        predictions("A one", "A two", "A three"),
        [("Q one", "A one"), ("Q two", "A two"), ("Q three", "A three")],
        turn=None,
    ),
    "dataframe_split: an answer in chat form with its usage": Case(
        split(["messages"], [[user(PROMPT)]]),
        predictions(chat(ANSWER, TOKENS)),
        [(PROMPT, ANSWER)],
        (31, 6, None, None),
        finish_reason="stop",
    ),
    "dataframe_records: messages": Case(records({"messages": TWO}), predictions(ANSWER), [(PROMPT, ANSWER)], turn=2),
    "dataframe_records: query and history": Case(
        records({"query": PROMPT, "history": TWO[:2]}), predictions({"content": ANSWER}), [(PROMPT, ANSWER)], turn=2
    ),
    "dataframe_records: tool results last": Case(
        records({"messages": [user(PROMPT), assistant(None, tool_calls=[CALL]), TOOL]}),
        predictions(ANSWER),
        [(PROMPT, ANSWER)],
    ),
    "dataframe_records: one answer is missing": Case(
        records({"query": "Q one"}, {"query": "Q two"}),
        predictions(None, "A two"),
        [("Q one", None), ("Q two", "A two")],
        turn=None,
    ),
    "dataframe_records: several, with a usage each": Case(
        records({"query": "Q one"}, {"query": "Q two"}),
        predictions({"result": "A one", "usage": TOKENS}, {"result": "A two", "usage": TOKENS}),
        [("Q one", "A one"), ("Q two", "A two")],
        turn=None,
    ),
    "dataframe_records: fewer answers than records": Case(
        records({"query": "Q one"}, {"query": "Q two"}), predictions("A one"), reason="length_mismatch", turn=None
    ),
    "dataframe_records: more answers than records": Case(
        records({"query": "Q one"}), predictions("A one", "A two"), reason="length_mismatch", turn=None
    ),
    "inputs: strings": Case(
        {"inputs": ["Q one", "Q two"]},
        predictions("A one", "A two"),
        [("Q one", "A one"), ("Q two", "A two")],
        turn=None,
    ),
    "inputs: one object with messages": Case(
        {"inputs": {"messages": TWO}}, predictions(ANSWER), [(PROMPT, ANSWER)], turn=2
    ),
    "inputs: columns": Case(
        {"inputs": {"query": ["Q one", "Q two"]}, "params": {"top_k": 2}},
        predictions("A one", "A two"),
        [("Q one", "A one"), ("Q two", "A two")],
        turn=None,
    ),
    "instances: objects": Case({"instances": [{"query": PROMPT}]}, predictions({"result": ANSWER}), [(PROMPT, ANSWER)]),
    "instances: a bare array answers": Case({"instances": [{"query": PROMPT}]}, [ANSWER], [(PROMPT, ANSWER)]),
    "bare array: the answer of a chain": Case(
        {"messages": TWO},
        [{"result": ANSWER, "sources": ["https://docs.example.com/hours"]}],
        [(PROMPT, ANSWER)],
        turn=2,
    ),
    "bare array: a text": Case({"messages": [user(PROMPT)]}, [ANSWER], [(PROMPT, ANSWER)]),
    "a plain JSON text": Case({"messages": [user(PROMPT)]}, json.dumps(ANSWER), [(PROMPT, ANSWER)]),
    "predictions: an answer that was encoded twice": Case(
        {"messages": [user(PROMPT)]}, twice(chat(ANSWER)), [(PROMPT, ANSWER)], finish_reason="stop"
    ),
    "predictions: an error in their place": Case(
        records({"query": "Q one"}, {"query": "Q two"}),
        {"error_code": "BAD_REQUEST", "message": "The model raised"},
        [("Q one", None), ("Q two", None)],
        error=True,
        turn=None,
    ),
    "guardrail: the input was blocked": Case(
        {"messages": [user("How do I burn a book?")]},
        {"error_code": "BAD_REQUEST", "message": json.dumps(GUARDED)},
        [("How do I burn a book?", None)],
        error=True,
        finish_reason="input_guardrail_triggered",
        status=400,
    ),
    "guardrail: the output was blocked": Case(
        {"messages": TWO},
        {
            "error_code": "BAD_REQUEST",
            "message": json.dumps({"usage": {}, "output_guardrail": [], "finishReason": "output_guardrail_triggered"}),
        },
        [(PROMPT, None)],
        error=True,
        finish_reason="output_guardrail_triggered",
        status=400,
        turn=2,
    ),
    "guardrail: results beside a good answer": Case(
        {"messages": [user(PROMPT)]},
        chat(ANSWER, TOKENS) | {"input_guardrail": [{"index": 0, "flagged": False, "pii_detection": False}]},
        [(PROMPT, ANSWER)],
        (31, 6, None, None),
        finish_reason="stop",
    ),
    "platform: status 404": Case(
        {"messages": [user(PROMPT)]},
        {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "No such endpoint"},
        [(PROMPT, None)],
        error=True,
        status=404,
    ),
    "platform: status 504 and nothing logged": Case(records({"query": PROMPT}), None, [(PROMPT, None)], status=504),
    "platform: response not logged": Case({"messages": [user(PROMPT)]}, None, [(PROMPT, None)]),
    "platform: request not logged": Case(
        None, chat(ANSWER, TOKENS), [(None, ANSWER)], (31, 6, None, None), finish_reason="stop", turn=None
    ),
    "platform: unknown request": Case({"text_input": PROMPT}, predictions(ANSWER), reason="unknown_request_shape"),
    "platform: unknown response": Case({"messages": [user(PROMPT)]}, {"verdict": 3}, reason="unknown_response_shape"),
    "platform: the request is no JSON": Case("messages=hello", chat(ANSWER), reason="invalid_request_json"),
    "platform: the response is no JSON": Case(
        {"messages": [user(PROMPT)]}, '{"choices": [', reason="invalid_response_json"
    ),
}
