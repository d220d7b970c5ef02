"""Prompts and responses out of the JSON payloads that an endpoint logs.

Native Spark SQL on VARIANT, no Python per row. Shapes: chat and text completions, embeddings and Responses (OpenAI),
``dataframe_records``, ``dataframe_split``, ``inputs`` and ``instances`` (MLflow scoring protocol) with ``predictions``,
bare arrays of results, ChatAgent, ResponsesAgent and SplitChat (MLflow, Databricks); streamed answers as a list of chunks
or as ``data:`` lines. A payload that can't be read gets a ``reason`` (schemas/quarantine.py) and no exchanges.

The expressions are SQL text: the JVM parses one string faster than Python can build the same tree call by call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyspark.sql import functions as F

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

PROMPT_FIELDS = ("query", "question", "prompt", "input", "text")
ANSWER_FIELDS = ("result", "answer", "output_text", "output", "response", "generated_text", "text")
REQUEST_FIELDS = (
    *("messages", "dataframe_records", "dataframe_split", "inputs", "instances", "history"),
    *("context", "databricks_options", "metadata", "user"),
    *PROMPT_FIELDS,
)
RESPONSE_FIELDS = (
    *("predictions", "choices", "messages", "data", "usage", "content"),
    *("error_code", "error", "code", "message", "databricks_output"),
    *ANSWER_FIELDS,
)
EVENT_FIELDS = ("object", "type", "choices", "delta", "item", "response", "usage", "databricks_output")
"""Of a chunk of a streamed answer."""

# \\uD800 to \\uDBFF without its second half, and a second half without its first.
_LONE_HIGH = r"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])"
_LONE_LOW = r"(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F][0-9a-fA-F]{2}"


def unpack_payload(rows: DataFrame) -> DataFrame:
    """Adds what the payloads hold to rows with common column names (dialects.py).

    Returns:
        The rows without ``logging_error_codes``, with ``exchanges`` (array of prompt, response, context), ``kind``,
        ``conversation_id``, ``end_user``, ``error_code``, the log's token counts ``usage_input_tokens``,
        ``usage_output_tokens`` and ``cached_input_tokens`` (NULL for a batched call: they can't be divided),
        ``reason`` and ``detail`` (why the row can't be unpacked; NULL when it can) and ``skip`` (feedback, no traffic).
        Requests that failed are never unreadable: whatever their payloads are, they are the error rate.
    """
    kept = [name for name in rows.columns if name != "logging_error_codes"]
    one_input = "coalesce(array_size(records), 1) = 1"
    return (
        rows.selectExpr(
            *kept,
            f"{parse_json('request')} AS req",
            f"{_let(_lines_as_array('response'), 'text', parse_json('text'))} AS resp",
            "coalesce(status_code = 200, false) AS ok",
        )
        .selectExpr(
            "*",
            f"{_fields('req', REQUEST_FIELDS)} AS q",
            f"{_fields('resp', RESPONSE_FIELDS)} AS a",
            f"{_events()} AS events",
        )
        .selectExpr("*", f"{_records()} AS given", f"{_is_feedback()} AS skip", f"{_usage()} AS usage")
        .selectExpr(
            "*",
            # A shape that isn't known in one of the inputs makes the whole call unreadable.
            "CASE WHEN array_size(given) > 0 AND forall(given, r -> r.messages IS NOT NULL OR r.text IS NOT NULL) "
            "THEN given END AS records",
            f"CASE WHEN ok AND response IS NOT NULL THEN {_answers()} END AS answers",
        )
        .selectExpr("*", f"CASE WHEN NOT skip THEN {_REASON} END AS reason")
        .selectExpr(
            *kept,
            "skip",
            "reason",
            "CASE WHEN reason = 'length_mismatch' THEN concat(array_size(records), ' inputs, ', array_size(answers), ' outputs') END "
            "AS detail",
            f"CASE WHEN NOT skip AND reason IS NULL THEN {_EXCHANGES} END AS exchanges",
            f"CASE WHEN records IS NULL THEN 'unknown' WHEN q.prompt IS NOT NULL THEN 'completion' "
            f"WHEN {_EMBEDDINGS} THEN 'embedding' ELSE 'chat' END AS kind",
            f"{_first_text(_at('q.context', 'conversation_id'), _at('q.databricks_options', 'conversation_id'))} AS conversation_id",
            f"{_first_text(_at('q.context', 'user_id'), 'q.user', _at('q.metadata', 'user_id'))} AS end_user",
            f"{_error_code()} AS error_code",
            f"CASE WHEN {one_input} THEN {_number('$.prompt_tokens', '$.input_tokens')} END AS usage_input_tokens",
            f"CASE WHEN {one_input} THEN {_number('$.completion_tokens', '$.output_tokens')} END AS usage_output_tokens",
            f"CASE WHEN {one_input} THEN "
            f"{_number('$.prompt_tokens_details.cached_tokens', '$.input_tokens_details.cached_tokens')} END "
            "AS cached_input_tokens",
        )
    )


def explode_exchanges(unpacked: DataFrame) -> DataFrame:
    """One row per exchange, with ``exchange_index``, ``prompt``, ``response`` and ``context``, of the rows that have any."""
    payload = ("request", "response", "exchanges", "reason", "detail", "skip")
    others = [name for name in unpacked.columns if name not in payload]
    return (
        unpacked.where(F.col("exchanges").isNotNull())
        .select(*others, F.posexplode("exchanges").alias("exchange_index", "exchange"))
        .select(*others, "exchange_index", "exchange.prompt", "exchange.response", "exchange.context")
    )


def parse_json(column: str) -> str:
    """SQL: VARIANT of a JSON text; NULL for what is no JSON, or has anything after it.

    ``try_parse_json`` accepts trailing garbage; as the first of two elements of an array it can't hide. Lone surrogates,
    which JSON allows and VARIANT refuses, are replaced by U+FFFD in a second try.
    """
    repaired = f"regexp_replace(regexp_replace({column}, r'{_LONE_HIGH}', '\ufffd'), r'{_LONE_LOW}', '\ufffd')"
    return f"coalesce({_whole(column)}, CASE WHEN contains({column}, r'\\u') THEN {_whole(repaired)} END)"


def _whole(text: str) -> str:
    pair = f"try_variant_get(try_parse_json(concat('[', {text}, ',0]')), '$', 'array<variant>')"
    return _let(pair, "pair", "CASE WHEN array_size(pair) = 2 THEN pair[0] END")


def _let(value: str, name: str, body: str) -> str:
    """SQL: ``body`` with ``value`` computed once under a name."""
    return f"transform(array({value}), {name} -> {body})[0]"


def _last(values: str, name: str, value: str) -> str:
    """SQL: ``value`` of the last of an array's elements, each under the name, for which it is not NULL."""
    return f"try_element_at(filter(transform({values}, {name} -> {value}), x -> x IS NOT NULL), -1)"


def _fields(value: str, names: tuple[str, ...]) -> str:
    """SQL: the fields of an object as a struct of VARIANTs; NULL for anything but an object."""
    return f"try_variant_get({value}, '$', 'struct<{', '.join(f'{name}: variant' for name in names)}>')"


def _array(value: str) -> str:
    return f"try_variant_get({value}, '$', 'array<variant>')"


def _at(value: str, path: str) -> str:
    """SQL: what a VARIANT holds at a path; NULL where there is nothing."""
    return f"try_variant_get({value}, '$.{path}', 'variant')"


def _text(value: str) -> str:
    """SQL: the string; NULL for anything that is not a JSON string."""
    return f"CASE WHEN schema_of_variant({value}) = 'STRING' THEN try_variant_get({value}, '$', 'string') END"


def _first_text(*values: str) -> str:
    return f"coalesce({', '.join(_text(value) for value in values)})"


def _number(*paths: str) -> str:
    found = [f"try_variant_get(usage, '{path}', 'bigint')" for path in paths]
    return f"coalesce({', '.join(found)})"


def _content(value: str) -> str:
    """SQL: a message's content: a string, or the text parts of a list of parts, one to a line."""
    parts = (
        f"filter(transform({_array(value)}, p -> {_first_text('p', _at('p', 'text'), _at('p', 'refusal'))}), "
        "p -> p IS NOT NULL)"
    )
    joined = "CASE WHEN array_size(parts) > 0 THEN array_join(parts, '\n') END"
    return f"coalesce({_text(value)}, {_let(parts, 'parts', joined)})"


def _messages(value: str) -> str:
    """SQL: messages as array<struct<role, content>>; NULL for anything but a list."""
    return (
        f"transform({_array(value)}, "
        f"m -> named_struct('role', {_text(_at('m', 'role'))}, 'content', {_content(_at('m', 'content'))}))"
    )


def _last_of(messages: str, role: str) -> str:
    """SQL: content of the last message of a role; of the last message where no message has the role."""
    chosen = f"filter({messages}, m -> m.role = '{role}')"
    last = f"CASE WHEN array_size(chosen) > 0 THEN chosen ELSE {messages} END"
    return _let(chosen, "chosen", _let(last, "last", "get(last, array_size(last) - 1).content"))


def _record_of(value: str) -> str:
    """SQL: one input of a call as struct<messages, text>; both NULL where the shape is not known."""
    text = f"coalesce({_text(value)}, {', '.join(_content(f'f.{name}') for name in PROMPT_FIELDS)})"
    body = f"named_struct('messages', {_messages('f.messages')}, 'text', {text})"
    return _let(_fields(value, ("messages", *PROMPT_FIELDS)), "f", body)


def _history_record() -> str:
    """SQL: SplitChat, a query with the messages before it."""
    query = f"array(named_struct('role', 'user', 'content', {_text('q.query')}))"
    return (
        f"CASE WHEN {_array('q.history')} IS NOT NULL AND {_text('q.query')} IS NOT NULL THEN array(named_struct("
        f"'messages', concat({_messages('q.history')}, {query}), 'text', CAST(NULL AS string))) END"
    )


def _input_records() -> str:
    """SQL: ``input`` that is a list: texts to embed, or items of the Responses API, which are one conversation."""
    texts = f"transform(items, i -> named_struct('messages', {_NO_MESSAGES}, 'text', {_text('i')}))"
    chat = f"array(named_struct('messages', {_messages('q.input')}, 'text', CAST(NULL AS string)))"
    listed = (
        f"CASE WHEN forall(items, i -> {_text('i')} IS NOT NULL) THEN {texts} "
        f"WHEN exists(items, i -> {_text(_at('i', 'role'))} IS NOT NULL) THEN {chat} END"
    )
    return f"CASE WHEN array_size({_array('q.input')}) > 0 THEN {_let(_array('q.input'), 'items', listed)} END"


def _records() -> str:
    """SQL: array<struct<messages, text>>, one per input of the call."""
    inputs = "coalesce(q.inputs, q.instances)"
    # {"inputs": {"query": ["…", "…"]}}: a table by columns.
    columnar = _let(
        _fields(inputs, PROMPT_FIELDS), "f", f"coalesce({', '.join(_array(f'f.{name}') for name in PROMPT_FIELDS)})"
    )
    listed = (
        f"CASE WHEN {_array('q.messages')} IS NOT NULL THEN array(req) "
        f"ELSE coalesce({_array('q.prompt')}, {_array('q.dataframe_records')}, {_array(inputs)}, {columnar}, "
        f"CASE WHEN {inputs} IS NOT NULL THEN array({inputs}) END, {_array('req')}, "
        "CASE WHEN req IS NOT NULL THEN array(req) END) END"
    )
    return (
        f"coalesce({_split_records()}, {_history_record()}, {_input_records()}, "
        f"transform({listed}, v -> {_record_of('v')}))"
    )


def _split_records() -> str:
    def cell(name: str) -> str:
        return f"get(cells, array_position(names, '{name}') - 1)"

    # A table with one unnamed or unknown column: its text is the prompt. Among several no guess is made.
    only = f"CASE WHEN array_size(cells) = 1 THEN {_text('cells[0]')} END"
    texts = [_content(cell(name)) for name in PROMPT_FIELDS] + [only]
    record = f"named_struct('messages', {_messages(cell('messages'))}, 'text', coalesce({', '.join(texts)}))"
    rows = f"transform({_array(_at('q.dataframe_split', 'data'))}, row -> {_let(_array('row'), 'cells', record)})"
    return _let("try_variant_get(q.dataframe_split, '$.columns', 'array<string>')", "names", rows)


def _answers() -> str:
    """SQL: array<struct<known, text>>, one per prediction of the call."""
    listed = (
        f"coalesce({_array('resp')}, {_array('a.predictions')}, "
        "CASE WHEN a.predictions IS NOT NULL THEN array(a.predictions) WHEN resp IS NOT NULL THEN array(resp) END)"
    )
    embedded = f"transform({_array('a.data')}, v -> named_struct('known', true, 'text', CAST(NULL AS string)))"
    streamed = f"array(named_struct('known', true, 'text', {_streamed_text()}))"
    return (
        f"CASE WHEN events IS NOT NULL THEN {streamed} WHEN {_EMBEDDINGS} THEN {embedded} "
        f"ELSE coalesce({_answers_by_prompt()}, transform({listed}, v -> {_answer_of('v')})) END"
    )


def _answers_by_prompt() -> str:
    """SQL: of a completion of several prompts each prompt's first choice; NULL for another number of choices."""
    prompts, choices = _array("q.prompt"), _array("a.choices")
    choice = "choices[i * CAST(array_size(choices) / array_size(prompts) AS int)]"
    text = f"coalesce({_text(_at('c', 'text'))}, {_content(_at('c', 'message.content'))})"
    answer = _let(choice, "c", f"named_struct('known', true, 'text', {text})")
    chosen = (
        "CASE WHEN array_size(choices) >= array_size(prompts) AND array_size(choices) % array_size(prompts) = 0 "
        f"THEN transform(sequence(0, array_size(prompts) - 1), i -> {answer}) END"
    )
    return f"CASE WHEN array_size({prompts}) > 1 THEN {_let(prompts, 'prompts', _let(choices, 'choices', chosen))} END"


def _lines_as_array(column: str) -> str:
    """SQL: server-sent events (``data:`` lines, the last one ``[DONE]``) as the text of a JSON array; other text as it is.

    Source: WHATWG HTML, "Server-sent events"; OpenAI API reference, "Streaming".
    """
    data = "transform(split(t, r'\\r?\\n'), l -> CASE WHEN startswith(l, 'data:') THEN trim(substr(l, 6)) END)"
    kept = f"filter({data}, l -> l IS NOT NULL AND l <> '' AND l <> '[DONE]')"
    body = f"CASE WHEN t RLIKE r'^(data|event|id|retry|):' THEN concat('[', array_join({kept}, ','), ']') ELSE t END"
    return _let(f"ltrim({column})", "t", body)


def _events() -> str:
    """SQL: array<struct of EVENT_FIELDS> of a streamed answer; NULL for any other."""
    fields = f"transform({_array('resp')}, e -> {_fields('e', EVENT_FIELDS)})"
    is_event = (
        f"{_text('e.object')} LIKE '%.chunk' OR {_text('e.type')} LIKE 'response.%' OR {_at('e.delta', 'content')} IS NOT NULL "
        "OR try_variant_get(e.choices, '$[0].delta', 'variant') IS NOT NULL"
    )
    lines = "response RLIKE r'^\\s*(data|event|id|retry|):'"
    body = f"CASE WHEN exists(ev, e -> {is_event}) OR ({lines} AND ev IS NOT NULL) THEN ev END"
    return _let(fields, "ev", body)


def _streamed_text() -> str:
    """SQL: the answer that the chunks come to: the finished items where there are any, else the deltas joined."""
    output = _at("e.response", "output")
    completed = _last("events", "e", f"CASE WHEN {_array(output)} IS NOT NULL THEN {output} END")
    first = "coalesce(try_variant_get(e.choices, '$[0].index', 'bigint'), 0) = 0"
    chunk = [f"try_variant_get(e.choices, '$[0].{path}', 'variant')" for path in ("delta.content", "text")]
    delta = (
        f"CASE WHEN {first} THEN {_first_text(*chunk)} END",
        f"CASE WHEN {_text('e.type')} = 'response.output_text.delta' THEN {_text('e.delta')} END",
        _text(_at("e.delta", "content")),
    )
    deltas = f"filter(transform(events, e -> coalesce({', '.join(delta)})), t -> t IS NOT NULL)"
    joined = _let(deltas, "deltas", "CASE WHEN array_size(deltas) > 0 THEN array_join(deltas, '') END")
    return f"coalesce({_items_text(_array(completed))}, {_items_text('transform(events, e -> e.item)')}, {joined})"


def _items_text(items: str) -> str:
    """SQL: text of the last message among output items of the Responses API; calls and reasoning are not said to anyone."""
    is_message = f"coalesce({_text(_at('i', 'type'))}, 'message') = 'message'"
    return _last(items, "i", f"CASE WHEN {is_message} THEN {_content(_at('i', 'content'))} END")


def _usage() -> str:
    """SQL: the token counts of the answer, of a stream those of the last chunk that has any."""
    of_event = f"coalesce({_not_null('e.usage')}, {_not_null(_at('e.response', 'usage'))})"
    return f"coalesce(a.usage, {_last('events', 'e', of_event)})"


def _not_null(value: str) -> str:
    return f"CASE WHEN NOT is_variant_null({value}) THEN {value} END"


def _error_code() -> str:
    """SQL: the code of a failure: of a stream that broke off after status 200, of a guardrail's block, or of the error.

    A guardrail's block is JSON in the error's message, with its name in ``finishReason``. Messages are no codes: they can
    quote the user.
    """
    last = _last("events", "e", _at("e.databricks_output", "error"))
    name = _first_text(*(_at("broken", name) for name in ("error_code", "code", "type")))
    code = f"CASE WHEN broken IS NOT NULL AND NOT is_variant_null(broken) THEN coalesce({name}, 'error') END"
    of_stream = _let(f"coalesce({_at('a.databricks_output', 'error')}, {last})", "broken", code)
    blocked = f"try_variant_get(try_parse_json({_text('a.message')}), '$.finishReason', 'string')"
    of_status = _first_text("a.error_code", _at("a.error", "code"), _at("a.error", "type"), "a.code")
    return f"coalesce({of_stream}, CASE WHEN NOT ok THEN coalesce({blocked}, {of_status}) END)"


def _answer_of(value: str) -> str:
    """SQL: the first choice, or the agent's last message, or the field that holds the answer.

    A tool call has a choice or a message without content: it is known, and without text.
    """
    texts = [
        _text(value),
        _content("try_variant_get(f.choices, '$[0].message.content', 'variant')"),
        _text("try_variant_get(f.choices, '$[0].text', 'variant')"),
        _last_of("agent", "assistant"),
        _items_text(_array("f.output")),
        _content("f.content"),
        *(_text(f"f.{name}") for name in ANSWER_FIELDS),
    ]
    known = f"t IS NOT NULL OR try_variant_get(f.choices, '$[0].message', 'variant') IS NOT NULL OR coalesce(array_size(agent) > 0, false) OR {_array('f.output')} IS NOT NULL"
    answer = _let(f"coalesce({', '.join(texts)})", "t", f"named_struct('known', {known}, 'text', t)")
    return _let(_fields(value, RESPONSE_FIELDS), "f", _let(_messages("f.messages"), "agent", answer))


def _is_feedback() -> str:
    """SQL: whether the row is a rating that a review app sent to the endpoint; it lands in the same table."""
    first = "try_variant_get(q.dataframe_records, '$[0]', 'variant')"
    ratings = f"coalesce({_at(first, 'text_assessments')}, {_at(first, 'retrieval_assessments')})"
    return _let(ratings, "rating", "rating IS NOT NULL AND NOT is_variant_null(rating)")


_NO_MESSAGES = "CAST(NULL AS array<struct<role: string, content: string>>)"
_EMBEDDINGS = "coalesce(try_variant_get(a.data, '$[0].object', 'string') = 'embedding', false)"

_REASON = """CASE
    WHEN request_time IS NULL THEN 'no_request_time'
    WHEN ok AND request IS NOT NULL AND req IS NULL THEN 'invalid_request_json'
    WHEN ok AND response IS NOT NULL AND resp IS NULL THEN 'invalid_response_json'
    WHEN ok AND request IS NOT NULL AND records IS NULL THEN 'unknown_request_shape'
    WHEN ok AND response IS NOT NULL AND exists(answers, v -> NOT v.known) THEN 'unknown_response_shape'
    WHEN array_size(records) <> array_size(answers) THEN 'length_mismatch'
END"""

_CONTEXT = """CASE
    WHEN r.messages IS NOT NULL THEN to_json(r.messages)
    WHEN r.text IS NOT NULL THEN to_json(array(named_struct('role', 'user', 'content', r.text)))
END"""

_EXCHANGE = f"""named_struct(
    'prompt', CASE WHEN r.messages IS NOT NULL THEN {_last_of("r.messages", "user")} ELSE r.text END,
    'response', get(answers, i).text,
    'context', {_CONTEXT}
)"""

# Where the log holds neither request nor response there is still one exchange: the request was made.
_EXCHANGES = f"""transform(
    sequence(0, greatest(coalesce(array_size(records), array_size(answers), 1), 1) - 1),
    i -> {_let("get(records, i)", "r", _EXCHANGE)}
)"""
