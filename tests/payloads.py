"""Every payload shape that endpoints log, and odd rows: what is read from it, and what becomes of it.

Unpacking alone is tested with it in tests/metrics/unpack, the way through all tables in tests/jobs/test_odd_rows.py.
"""

from __future__ import annotations

import json
from typing import Any

HI = '{"messages": [{"role": "user", "content": "Hi"}]}'
HELLO = '{"choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}}]}'
MULTI_TURN = json.dumps(
    {
        "messages": [
            {"role": "system", "content": "S"},
            {"role": "user", "content": "first"},
            {"role": "assistant", "content": "one"},
            {"role": "user", "content": "second"},
        ]
    }
)
PARTS = '{"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {}}, {"type": "text", "text": "b"}]}]}'
SPLIT_CHAT = (
    '{"dataframe_split": {"index": [0], "columns": ["messages"], "data": [[[{"role": "user", "content": "Q"}]]]}}'
)
SPLIT_QUERY = '{"dataframe_split": {"columns": ["k", "query"], "data": [[3, "Q1"], [3, "Q2"]]}}'
AGENT = (
    '{"messages": [{"id": "1", "role": "user", "content": "Q"}], "context": {"conversation_id": "x", "user_id": "u"}}'
)
AGENT_ANSWER = '{"messages": [{"role": "assistant", "content": "A0"}, {"role": "tool", "content": "T"}, {"role": "assistant", "content": "A"}]}'
TOOL_CALL = '{"choices": [{"message": {"role": "assistant", "content": null, "tool_calls": [{"id": "c"}]}}]}'
TWO_CHOICES = '{"choices": [{"message": {"content": "first"}}, {"message": {"content": "second"}}]}'
RESPONSES = (
    '{"input": [{"type": "message", "role": "user", "content": "P"}, {"role": "assistant", "content": "R"}, '
    '{"type": "function_call_output", "call_id": "c", "output": "r"}, '
    '{"role": "user", "content": [{"type": "input_text", "text": "Q"}]}], "custom_inputs": {}}'
)
RESPONSES_ANSWER = json.dumps(
    {
        "object": "response",
        "output": [
            {"type": "reasoning", "summary": []},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "let me look"}]},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "r"},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "A"}]},
        ],
        "usage": {"input_tokens": 12, "output_tokens": 3, "input_tokens_details": {"cached_tokens": 7}},
    }
)
HISTORY = '[{"role": "user", "content": "P"}]'
AGENT_TURN = json.dumps(
    {
        "input": [
            {"role": "user", "content": "Q"},
            {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "hm"}]},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "r"},
        ]
    }
)
REFUSAL = '{"object": "response", "output": [{"type": "message", "content": [{"type": "refusal", "refusal": "No."}]}]}'
ONLY_CALLS = '{"object": "response", "output": [{"type": "function_call", "call_id": "c", "name": "f"}]}'
CHUNKS: list[dict[str, Any]] = [
    {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]},
    {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": "He"}, "finish_reason": None}]},
    {"object": "chat.completion.chunk", "choices": [{"index": 1, "delta": {"content": "other choice"}}]},
    {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": "llo"}}], "usage": None},
    {"object": "chat.completion.chunk", "choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2}},
]
DELTAS: list[dict[str, Any]] = [
    {"type": "response.created", "response": {"id": "r", "output": []}},
    {"type": "response.output_text.delta", "item_id": "m1", "delta": "He"},
    {"type": "response.output_text.delta", "item_id": "m1", "delta": "llo"},
]
ITEM_DONE = {
    "type": "response.output_item.done",
    "item": {"type": "message", "id": "m1", "content": [{"type": "output_text", "text": "Hello."}]},
}
COMPLETED = {
    "type": "response.completed",
    "response": {**json.loads(RESPONSES_ANSWER), "usage": {"input_tokens": 8, "output_tokens": 4}},
}
AGENT_CHUNKS = [{"delta": {"role": "assistant", "content": text, "id": "1"}} for text in ("He", "llo")]
COMPLETION_CHUNKS = [{"object": "text_completion", "choices": [{"text": text}]} for text in (" up", "on")]
# Two prompts with two choices each: the first choices are 0 and 2.
PROMPTS_CHUNKS = [
    {"object": "text_completion", "choices": [{"index": index, "text": text}]}
    for index, text in ((0, "1"), (2, "2"), (1, "x"), (3, "y"), (2, "b"), (0, "a"))
]
REASONING = [{"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]}]
PARTS_CHUNKS: list[dict[str, Any]] = [
    {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"role": "assistant", "content": content}}]}
    for content in ("", REASONING, [{"type": "text", "text": "Hel"}], [{"type": "text", "text": "lo"}])
]
TOOL_CHUNKS = [
    {"delta": {"role": "assistant", "content": "", "id": "1", "tool_calls": [{"id": "c"}]}},
    {"delta": {"role": "tool", "content": "T", "id": "2"}},
    {"delta": {"role": "assistant", "content": "A", "id": "3"}},
]
TWO_ITEMS = [{"type": "response.output_text.delta", "item_id": "m0", "delta": "let me look"}, *DELTAS]
BROKEN_STREAM = [*DELTAS, {"databricks_output": {"error": {"error_code": "TIMEOUT", "message": "m"}}}]
EMBEDDED = '{"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [0.1]}]}'


def sse(events: list[dict[str, Any]], end: str = "\n\n") -> str:
    """Server-sent events."""
    return end.join([*(f"data: {json.dumps(event)}" for event in events), "data: [DONE]", ""])


OPENAI_USAGE = '{"choices": [{"text": "A"}], "usage": {"prompt_tokens": 2, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 1}}}'
OTHER_USAGE = '{"content": "A", "usage": {"input_tokens": 4, "output_tokens": 5}}'
TRACE = '{"choices": [{"message": {"content": "Hello"}}], "databricks_output": {"trace": {"info": {}, "data": {"spans": [{"name": "retriever"}]}}}}'
TRACED = '{"messages": [{"role": "user", "content": "Hi"}], "databricks_options": {"return_trace": true, "conversation_id": "x"}}'
MIB = "the cat sat on " * 69_000
PICTURE = json.dumps(
    {
        "messages": [
            {
                "role": "user",
                "content": [{"type": "text", "text": "Look"}, {"type": "image_url", "image_url": {"url": MIB}}],
            }
        ]
    }
)
ARABIC = "\u202eمرحبا\u202c abc \u2066שלום\u2069"


def nested(levels: int) -> str:
    """JSON within JSON within JSON."""
    return '{"a":' * levels + "1" + "}" * levels


READABLE = {
    # name: (request, response, [(prompt, response), …])
    "chat": (HI, HELLO, [("Hi", "Hello")]),
    "chat, the last user message is the prompt": (MULTI_TURN, HELLO, [("second", "Hello")]),
    "chat, content parts": (PARTS, HELLO, [("a\nb", "Hello")]),
    "chat, tool call without text": (HI, TOOL_CALL, [("Hi", None)]),
    "chat, several choices are one exchange": (HI, TWO_CHOICES, [("Hi", "first")]),
    "chat, empty prompt": ('{"messages": [{"role": "user", "content": ""}]}', HELLO, [("", "Hello")]),
    "completion": ('{"prompt": "Once"}', '{"choices": [{"index": 0, "text": " upon"}]}', [("Once", " upon")]),
    "completion with predictions": ('{"prompt": ["A", "B"]}', '{"predictions": ["1", "2"]}', [("A", "1"), ("B", "2")]),
    "records": ('{"dataframe_records": [{"query": "Q1"}, {"query": "Q2"}]}', '{"predictions": ["A1", "A2"]}', [("Q1", "A1"), ("Q2", "A2")]),
    "records with messages": ('{"dataframe_records": [{"messages": [{"role": "user", "content": "Q"}]}]}', '{"predictions": ["A"]}', [("Q", "A")]),
    "split with messages": (SPLIT_CHAT, '{"predictions": ["A"]}', [("Q", "A")]),
    "split with a query column": (SPLIT_QUERY, '{"predictions": ["A1", "A2"]}', [("Q1", "A1"), ("Q2", "A2")]),
    "split with an unknown column": ('{"dataframe_split": {"columns": ["0"], "data": [["Q"]]}}', '{"predictions": ["A"]}', [("Q", "A")]),
    "inputs": ('{"inputs": [{"query": "Q"}]}', '{"predictions": [{"result": "A", "sources": ["u"]}]}', [("Q", "A")]),
    "inputs, strings": ('{"inputs": ["Q1", "Q2"]}', '{"predictions": ["A1", "A2"]}', [("Q1", "A1"), ("Q2", "A2")]),
    "inputs by columns": ('{"inputs": {"query": ["Q1", "Q2"]}}', '["A1", "A2"]', [("Q1", "A1"), ("Q2", "A2")]),
    "inputs, one chat": ('{"inputs": {"messages": [{"role": "user", "content": "Q"}]}}', HELLO, [("Q", "Hello")]),
    "instances": ('{"instances": [{"query": "Q"}]}', '{"predictions": "A"}', [("Q", "A")]),
    "bare array": (HI, '[{"result": "A", "sources": ["u"]}]', [("Hi", "A")]),
    "ChatAgent": (AGENT, AGENT_ANSWER, [("Q", "A")]),
    "SplitChat": ('{"query": "Q", "history": [{"role": "user", "content": "P"}]}', '{"content": "A"}', [("Q", "A")]),
    "Responses, text": ('{"input": "Q"}', RESPONSES_ANSWER, [("Q", "A")]),
    "Responses, items": (RESPONSES, RESPONSES_ANSWER, [("Q", "A")]),
    "Responses, refusal": (RESPONSES, REFUSAL, [("Q", "No.")]),
    "Responses, only calls": (RESPONSES, ONLY_CALLS, [("Q", None)]),
    "Responses, nothing said": (RESPONSES, '{"object": "response", "output": []}', [("Q", None)]),
    "Responses request with a chat answer": ('{"input": [{"role": "user", "content": "Q"}]}', HELLO, [("Q", "Hello")]),
    "embedding": ('{"input": "Q"}', EMBEDDED, [("Q", None)]),
    "embeddings": ('{"input": ["Q1", "Q2"]}', '{"data": [{"object": "embedding"}, {"object": "embedding"}]}', [("Q1", None), ("Q2", None)]),
    "completions of several prompts": ('{"prompt": ["A", "B"]}', '{"choices": [{"text": "1"}, {"text": "2"}]}', [("A", "1"), ("B", "2")]),
    "completions of several prompts, two choices each": ('{"prompt": ["A", "B"], "n": 2}', '{"choices": [{"text": "1"}, {"text": "1b"}, {"text": "2"}, {"text": "2b"}]}', [("A", "1"), ("B", "2")]),
    "stream, chunks": (HI, json.dumps(CHUNKS), [("Hi", "Hello")]),
    "stream, data lines": (HI, sse(CHUNKS), [("Hi", "Hello")]),
    "stream, data lines of another system": (HI, sse(CHUNKS, "\r\n\r\n"), [("Hi", "Hello")]),
    "stream, one chunk": (HI, sse(CHUNKS[1:2]), [("Hi", "He")]),
    "stream, nothing said": (HI, sse(CHUNKS[4:]), [("Hi", None)]),
    "stream, text completion": ('{"prompt": "Once"}', sse(COMPLETION_CHUNKS), [("Once", " upon")]),
    "stream, ChatAgent": (AGENT, json.dumps(AGENT_CHUNKS), [("Q", "Hello")]),
    "stream, Responses deltas": (RESPONSES, json.dumps(DELTAS), [("Q", "Hello")]),
    "stream, Responses item": (RESPONSES, sse([*DELTAS, ITEM_DONE]), [("Q", "Hello.")]),
    "stream, Responses to its end": (RESPONSES, json.dumps([*DELTAS, ITEM_DONE, COMPLETED]), [("Q", "A")]),
    "stream that broke off": (RESPONSES, json.dumps(BROKEN_STREAM), [("Q", "Hello")]),
    "stream, ChatAgent with a tool": (AGENT, json.dumps(TOOL_CHUNKS), [("Q", "A")]),
    "stream, Responses of two items": (RESPONSES, json.dumps(TWO_ITEMS), [("Q", "Hello")]),
    "stream, Responses refusal": (RESPONSES, json.dumps([{"type": "response.refusal.delta", "delta": "No."}]), [("Q", "No.")]),
    "stream, the other choice first": (HI, json.dumps([{"object": "chat.completion.chunk", "choices": [{"index": 1, "delta": {"content": "x"}}, {"index": 0, "delta": {"content": "Hello"}}]}]), [("Hi", "Hello")]),
    "stream, error event": (HI, sse([*CHUNKS[:2], {"error": {"code": "overloaded"}}]), [("Hi", "He")]),
    "an error in place of the answer": (HI, '{"databricks_output": {"error": {"error_code": "TIMEOUT"}}}', [("Hi", None)]),
    "an error in place of the answers": ('{"inputs": ["Q1", "Q2"]}', '{"error_code": "BAD_REQUEST", "message": "m"}', [("Q1", None), ("Q2", None)]),
    "an error in place of the chunks": (HI, '[{"databricks_output": {"error": {"error_code": "TIMEOUT"}}}]', [("Hi", None)]),
    "chat, refusal": (HI, '{"choices": [{"message": {"content": null, "refusal": "No."}}]}', [("Hi", "No.")]),
    "chat, nothing asked": ('{"messages": [{"role": "system", "content": "S"}, {"role": "assistant", "content": "Welcome"}]}', HELLO, [(None, "Hello")]),
    "Responses, only the output of a call": ('{"input": [{"type": "function_call_output", "call_id": "c", "output": "r"}]}', RESPONSES_ANSWER, [(None, "A")]),
    "no predictions beside choices": (HI, '{"predictions": null, "choices": [{"message": {"content": "Hello"}}]}', [("Hi", "Hello")]),
    "no prompt beside messages": ('{"prompt": null, "messages": [{"role": "user", "content": "Hi"}]}', HELLO, [("Hi", "Hello")]),
    "predictions with usage": ('{"dataframe_records": [{"query": "Q"}]}', '{"predictions": [{"result": "A", "usage": {"prompt_tokens": 6, "completion_tokens": 1}}]}', [("Q", "A")]),
    "lone surrogate beside an escaped one": ('{"prompt": "\\\\ud800 \\ud800"}', HELLO, [("\\ud800 \ufffd", "Hello")]),
    "records with items": ('{"dataframe_records": [{"input": [{"role": "user", "content": "Q"}]}]}', '{"predictions": [{"output": [{"type": "message", "content": [{"type": "output_text", "text": "A"}]}]}]}', [("Q", "A")]),
    "split with items": ('{"dataframe_split": {"columns": ["input"], "data": [[[{"role": "user", "content": "Q"}]]]}}', '{"predictions": ["A"]}', [("Q", "A")]),
    "inputs by columns, chats": ('{"inputs": {"messages": [[{"role": "user", "content": "Q1"}], [{"role": "user", "content": "Q2"}]]}}', '["A1", "A2"]', [("Q1", "A1"), ("Q2", "A2")]),
    "completions of several prompts, in another order": ('{"prompt": ["A", "B"]}', '{"choices": [{"index": 1, "text": "2"}, {"index": 0, "text": "1"}]}', [("A", "1"), ("B", "2")]),
    "one answer is missing": ('{"inputs": ["Q1", "Q2"]}', '{"predictions": ["A1", null]}', [("Q1", "A1"), ("Q2", None)]),
    "predictions in chat form": ('{"dataframe_records": [{"query": "Q"}]}', f'{{"predictions": [{HELLO}]}}', [("Q", "Hello")]),
    "records, one without a query": ('{"dataframe_records": [{"query": "Q1"}, {"query": null}, {}]}', '["A1", "A2", "A3"]', [("Q1", "A1"), (None, "A2"), (None, "A3")]),
    "split, one without a query": ('{"dataframe_split": {"columns": ["k", "query"], "data": [[1, null], [2, "Q2"]]}}', '["A1", "A2"]', [(None, "A1"), ("Q2", "A2")]),
    "embedding of token ids": ('{"input": [9906, 1917]}', EMBEDDED, [(None, None)]),
    "embeddings of token ids": ('{"input": [[9906], [1917, 0]]}', '{"data": [{"object": "embedding"}, {"object": "embedding"}]}', [(None, None), (None, None)]),
    "completions of token ids": ('{"prompt": [[9906], [1917, 0]]}', '{"choices": [{"text": "1"}, {"text": "2"}]}', [(None, "1"), (None, "2")]),
    "completion of token ids, several choices": ('{"prompt": [9906, 1917], "n": 2}', '{"choices": [{"text": "1"}, {"text": "1b"}]}', [(None, "1")]),
    "embeddings of digits": ('{"input": ["7", "8"]}', '{"data": [{"object": "embedding"}, {"object": "embedding"}]}', [("7", None), ("8", None)]),
    "stream, completions of several prompts": ('{"prompt": ["A", "B"], "n": 2}', sse(PROMPTS_CHUNKS), [("A", "1a"), ("B", "2b")]),
    "stream, content parts": (HI, sse(PARTS_CHUNKS), [("Hi", "Hello")]),
    "chat, content parts in the answer": (HI, '{"choices": [{"message": {"content": [{"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]}, {"type": "text", "text": "Hello"}]}}]}', [("Hi", "Hello")]),
    "choices out of order": (HI, '{"choices": [{"index": 1, "message": {"content": "second"}}, {"index": 0, "message": {"content": "first"}}]}', [("Hi", "first")]),
    "predictions with choices out of order": ('{"inputs": ["Q"]}', '{"predictions": [{"choices": [{"index": 1, "text": "second"}, {"index": 0, "text": "first"}]}]}', [("Q", "first")]),
    "Responses, second turn of an agent": (AGENT_TURN, RESPONSES_ANSWER, [("Q", "A")]),
    "records with a history": (f'{{"dataframe_records": [{{"query": "Q", "history": {HISTORY}}}]}}', '["A"]', [("Q", "A")]),
    "split with a history": (f'{{"dataframe_split": {{"columns": ["query", "history"], "data": [["Q", {HISTORY}]]}}}}', '["A"]', [("Q", "A")]),
    "inputs with a history": (f'{{"inputs": {{"query": "Q", "history": {HISTORY}}}}}', '["A"]', [("Q", "A")]),
    "an only prediction with usage": ('{"inputs": ["Q"]}', '{"predictions": {"content": "A", "usage": {"prompt_tokens": 6, "completion_tokens": 1}}}', [("Q", "A")]),
    "bare array with usage": (HI, '[{"result": "A", "usage": {"prompt_tokens": 6, "completion_tokens": 1}}]', [("Hi", "A")]),
    "usage that can't be": (HI, '{"content": "A", "usage": {"prompt_tokens": 9223372036854775807, "completion_tokens": -5}}', [("Hi", "A")]),
    "an error beside a choice without content": (HI, '{"choices": [{"message": {"content": null}}], "error": {"code": "overloaded"}}', [("Hi", None)]),
    "Responses, failed": (RESPONSES, '{"object": "response", "status": "failed", "error": {"code": "server_error"}, "output": []}', [("Q", None)]),
    "stream, nothing but an error": (HI, sse([{"error_code": "INTERNAL_ERROR", "message": "m"}]), [("Hi", None)]),
    "JSON with a repeated key": ('{"prompt": "P", "prompt": "Q"}', HELLO, [("Q", "Hello")]),
    "response not logged": (HI, None, [("Hi", None)]),
    "nothing logged": (None, None, [(None, None)]),
    "request not logged": (None, HELLO, [(None, "Hello")]),
    "no answers to a request that was not logged": (None, '{"predictions": []}', [(None, None)]),
    "lone surrogate": ('{"prompt": "bad \\ud800 x"}', '{"choices": [{"text": "low \\udc00 y"}]}', [("bad \ufffd x", "low \ufffd y")]),
    "a surrogate pair is one character": ('{"prompt": "\\ud83d\\ude00"}', '{"choices": [{"text": "ok"}]}', [("😀", "ok")]),
    "usage, OpenAI's spelling": ('{"prompt": "Q"}', OPENAI_USAGE, [("Q", "A")]),
    "usage, the other spelling": (HI, OTHER_USAGE, [("Hi", "A")]),
    "traces are no text": (TRACED, TRACE, [("Hi", "Hello")]),
    "1 MiB, most of it a picture": (PICTURE, HELLO, [("Look", "Hello")]),
    "NUL and control characters, as JSON has them": ('{"prompt": "a\\u0000b\\u0007c\\td"}', HELLO, [("a\0b\ac\td", "Hello")]),
    "text from right to left": (json.dumps({"prompt": ARABIC}), json.dumps({"content": ARABIC}), [(ARABIC, ARABIC)]),
    "800 levels beside the text": (f'{{"prompt": "Q", "x": {nested(800)}}}', HELLO, [("Q", "Hello")]),
    "special tokens are text": ('{"prompt": "<|endoftext|> [SEP]"}', '{"choices": [{"text": "</s>"}]}', [("<|endoftext|> [SEP]", "</s>")]),
}  # fmt: skip

UNREADABLE = {
    "not JSON": ("nope", HELLO, "invalid_request_json"),
    "cut off": ('{"messages": [{"role": "us', HELLO, "invalid_request_json"),
    "empty": ("", HELLO, "invalid_request_json"),
    "trailing garbage": (HI + HI, HELLO, "invalid_request_json"),
    "garbage that looks like more of our own": (HI + ",0] " + HI, HELLO, "invalid_request_json"),
    "response not JSON": (HI, "nope", "invalid_response_json"),
    "response with trailing garbage": (HI, '{"a": 1}{"b": 2}', "invalid_response_json"),
    "unknown request": ('{"foo": 1}', HELLO, "unknown_request_shape"),
    "number": ("3", HELLO, "unknown_request_shape"),
    "null": ("null", HELLO, "unknown_request_shape"),
    "no inputs": ('{"dataframe_records": []}', '{"predictions": []}', "unknown_request_shape"),
    "unknown response": (HI, '{"x": 1}', "unknown_response_shape"),
    "one unknown response": ('{"inputs": ["Q1", "Q2"]}', '{"predictions": [null, 3]}', "unknown_response_shape"),
    "several unknown columns": (
        '{"dataframe_split": {"columns": ["u", "v"], "data": [["a@x.org", "Q"]]}}',
        '{"predictions": ["A"]}',
        "unknown_request_shape",
    ),
    "a query and a number": ('{"inputs": ["Q1", 3]}', '["A1", "A2"]', "unknown_request_shape"),
    "input of numbers": ('{"input": [1, 2]}', HELLO, "unknown_request_shape"),
    "stream with broken lines": (HI, 'data: {"choices": [\n\ndata: [DONE]\n', "invalid_response_json"),
    "embeddings for another number of texts": ('{"input": ["Q1", "Q2"]}', EMBEDDED, "length_mismatch"),
    "choices for another number of prompts": (
        '{"prompt": ["A", "B"]}',
        '{"choices": [{"text": "1"}]}',
        "length_mismatch",
    ),
    "streamed choices of a number that can't be": (
        '{"prompt": ["A", "B"]}',
        json.dumps(
            [{"object": "text_completion.chunk", "choices": [{"index": i, "text": "1"}]} for i in (0, 2**63 - 1)]
        ),
        "length_mismatch",
    ),
    "garbage that ends in its own length": ('{"prompt": "a"},19]', HELLO, "invalid_request_json"),
    "5,000 levels": (f'{{"prompt": "Q", "x": {nested(5000)}}}', HELLO, "invalid_request_json"),
    "5,000 levels in the answer": (HI, nested(5000), "invalid_response_json"),
    "nothing but 900 levels": (nested(900), HELLO, "unknown_request_shape"),
    "raw control character": ('{"prompt": "a\x01b"}', HELLO, "invalid_request_json"),
    "raw NUL": (HI, '{"content": "a\0b"}', "invalid_response_json"),
    "1 MiB of no JSON": (MIB, HELLO, "invalid_request_json"),
    "fewer answers than inputs": ('{"inputs": ["Q1", "Q2"]}', '{"predictions": ["A1"]}', "length_mismatch"),
}

RATINGS = [
    '{"dataframe_records": [{"request_id": "a", "text_assessments": [{"ratings": {}}], "retrieval_assessments": null}]}',
    '{"dataframe_records": [{"request_id": "a", "text_assessments": null, "retrieval_assessments": [{"position": 0}]}]}',
]
RATING = '{"dataframe_records": [{"request_id": "a", "text_assessments": [{"ratings": {}}]}]}'

USAGE: dict[str, tuple[int, int, int | None]] = {
    # name: (input tokens, output tokens, cached input tokens); of the others the log has none, and they are counted
    "stream, chunks": (5, 2, None),
    "stream, data lines": (5, 2, None),
    "stream, data lines of another system": (5, 2, None),
    "stream, nothing said": (5, 2, None),
    "stream, Responses to its end": (8, 4, None),
    "Responses, text": (12, 3, 7),
    "Responses, items": (12, 3, 7),
    "usage, OpenAI's spelling": (2, 3, 1),
    "Responses, only the output of a call": (12, 3, 7),
    "predictions with usage": (6, 1, None),
    "usage, the other spelling": (4, 5, None),
    "an only prediction with usage": (6, 1, None),
    "bare array with usage": (6, 1, None),
    "Responses, second turn of an agent": (12, 3, 7),
}

GUARDRAIL = json.dumps(
    {
        "error_code": "BAD_REQUEST",
        "message": json.dumps({"usage": {}, "input_guardrail": [], "finishReason": "input_guardrail_triggered"}),
    }
)


ERROR_CODES: list[tuple[int, str, str | None]] = [
    (400, GUARDRAIL, "input_guardrail_triggered"),
    (400, '{"error_code": "BAD_REQUEST", "message": "{no JSON"}', "BAD_REQUEST"),
    (400, '{"error_code": "BAD_REQUEST", "message": "[1]"}', "BAD_REQUEST"),
    (429, '{"error": {"code": "rate_limit", "type": "t"}}', "rate_limit"),
    (500, '{"error": {"code": null, "type": "server_error"}}', "server_error"),
    (500, "nope", None),
    (500, '{"error_code": "failed for jane.doe@example.com"}', "error"),
    (200, HELLO, None),
    (200, '{"output": [], "databricks_output": {"error": null}}', None),
    (200, '{"output": [], "databricks_output": {"error": {"error_code": "TIMEOUT"}}}', "TIMEOUT"),
    (200, '{"output": [], "databricks_output": {"error": "it stopped"}}', "error"),
    (200, '{"output": [], "databricks_output": {"error": {"x": 1}}}', "error"),
    (200, json.dumps(BROKEN_STREAM), "TIMEOUT"),
    (200, sse([*CHUNKS[:2], {"error": {"code": "overloaded"}}]), "overloaded"),
    (200, '{"error_code": "BAD_REQUEST", "message": "m"}', "BAD_REQUEST"),
    (200, '{"content": "A", "code": "x"}', None),
    (200, '{"content": "A", "error": null}', None),
    (200, '{"content": "A", "error": ""}', None),
    (200, '{"choices": [{"message": {"content": null}}], "error": {"code": "overloaded"}}', "overloaded"),
    (
        200,
        '{"object": "response", "status": "failed", "error": {"code": "server_error"}, "output": []}',
        "server_error",
    ),
    (200, '{"object": "response", "error": {"message": "m"}, "output": []}', "error"),
    (200, sse([{"error_code": "INTERNAL_ERROR", "message": "m"}]), "INTERNAL_ERROR"),
    (200, json.dumps([*CHUNKS[:2], {"error_code": "INTERNAL_ERROR", "message": "m"}]), "INTERNAL_ERROR"),
    (
        200,
        json.dumps([*DELTAS, {"type": "response.failed", "response": {"error": {"code": "server_error"}}}]),
        "server_error",
    ),
    (200, json.dumps([*DELTAS, {"type": "error", "code": "server_error"}]), "server_error"),
    (200, json.dumps([*DELTAS, {"type": "error", "message": "m"}]), "error"),
]
