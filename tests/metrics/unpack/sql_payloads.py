"""Prompts and responses out of the JSON payloads that an endpoint logs.

Native Spark SQL on VARIANT, no Python per row. Shapes: chat and text completions, embeddings and Responses (OpenAI),
``dataframe_records``, ``dataframe_split``, ``inputs`` and ``instances`` (MLflow scoring protocol) with ``predictions``,
bare arrays of results, ChatAgent, ResponsesAgent and SplitChat (MLflow, Databricks); streamed answers as a list of chunks
or as ``data:`` lines. A payload that can't be read gets a ``reason`` (schemas/quarantine.py) and no exchanges.

The expressions are SQL text: the JVM parses one string faster than Python can build the same tree call by call.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from pyspark.sql import functions as F

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

PROMPT_FIELDS = ("query", "question", "prompt", "input", "text")
ANSWER_FIELDS = ("result", "answer", "output_text", "output", "response", "generated_text", "text")
REQUEST_FIELDS = (
    *("dataframe_records", "dataframe_split", "inputs", "instances", "prompt", "input", "query", "history"),
    *("context", "databricks_options", "metadata", "user"),
)
RESPONSE_FIELDS = ("predictions", "data", "usage", "error_code", "error", "code", "message", "databricks_output")
"""Fields that are looked at more than once, without the long ones: ``messages``, ``choices``, ``output``."""

TOKENS = {
    "usage_input_tokens": ("$.prompt_tokens", "$.input_tokens"),
    "usage_output_tokens": ("$.completion_tokens", "$.output_tokens"),
    "cached_input_tokens": ("$.prompt_tokens_details.cached_tokens", "$.input_tokens_details.cached_tokens"),
}
"""The log's token counts, and where usage has them."""

MOST_TOKENS = 2**31 - 1
MOST_CHOICES = 100_000
"""Larger numbers in a payload are no counts."""

_MESSAGE = "struct<role: binary, content: variant>"
_ITEM = "struct<type: binary, content: variant>"
_ASKED_ITEM = "struct<role: binary, type: binary, content: variant>"
_RECORD = (
    f"struct<messages: array<{_MESSAGE}>, history: array<{_MESSAGE}>, "
    f"{', '.join(f'{name}: variant' for name in PROMPT_FIELDS)}>"
)
_ANSWER = (
    f"struct<messages: array<{_MESSAGE}>, choices: variant, output: variant, content: variant, "
    f"{', '.join(f'{name}: binary' for name in ANSWER_FIELDS if name != 'output')}>"
)
_USER, _CONVERSED = ("user_id", "user"), "conversation_id"
"""What an end user and a conversation are called."""

_IDS = "conversation_id: variant, user_id: variant, user: variant"
_PERSON = f"struct<{_IDS}, context: struct<{_IDS}>, metadata: struct<{_IDS}>>"
_EVENT = (
    "struct<type: binary, item_id: binary, delta: variant, usage: variant, error: variant, error_code: binary, code: binary, "
    f"choices: array<struct<index: bigint, delta: struct<content: binary>, text: binary>>, item: {_ITEM}, "
    f"response: struct<output: array<{_ITEM}>, usage: variant, error: variant>, databricks_output: struct<error: variant>>"
)
"""Types to read payloads as, in one call. What is of another type becomes NULL, and only a JSON string can be a binary.

A part that is read as VARIANT is built anew, which is slow: that is for what has to be looked at twice.
"""


_SEAL = random.SystemRandom().randrange(2**52, 2**53)

# \\uD800 to \\uDBFF without its second half, and a second half without its first; not after an escaped backslash.
_EVEN = r"(?<!\\)((?:\\\\)*)"
_LONE_HIGH = rf"{_EVEN}\\u[dD][89abAB][0-9a-fA-F]{{2}}(?!\\u[dD][c-fC-F])"
_LONE_LOW = rf"(?<!\\u[dD][89abAB][0-9a-fA-F]{{2}}){_EVEN}\\u[dD][c-fC-F][0-9a-fA-F]{{2}}"


def unpack_payload(rows: DataFrame) -> DataFrame:
    """Adds what the payloads hold to rows with common column names (dialects.py).

    Returns:
        The rows with ``exchanges`` (array of prompt, response, context, end user, conversation id), ``kind``,
        ``conversation_id`` and ``end_user`` (of the call, else of its first input), ``error_code``, the log's token counts ``usage_input_tokens``,
        ``usage_output_tokens`` and ``cached_input_tokens`` (NULL for a batched call: they can't be divided),
        ``reason`` and ``detail`` (why the row can't be unpacked; NULL when it can) and ``skip`` (feedback, no traffic).
        Requests that failed are never unreadable: whatever their payloads are, they are the error rate.
    """
    kept = rows.columns
    one_input = "coalesce(array_size(records), 1) = 1"
    return (
        rows.selectExpr("*", f"CASE WHEN {_IS_LINES} THEN {_lines_as_array('response')} ELSE response END AS text")
        .selectExpr("*", f"{_pair('request')} AS req_pair", f"{_pair('text')} AS resp_pair")
        .selectExpr(
            *kept,
            f"{_whole('req_pair', 'request')} AS req",
            f"{_whole('resp_pair', 'text')} AS resp",
            "coalesce(status_code = 200, false) AS ok",
        )
        .selectExpr(
            "*",
            f"{_fields('req', REQUEST_FIELDS)} AS q",
            f"{_fields('resp', RESPONSE_FIELDS)} AS a",
            f"{_stream()} AS stream",
        )
        .selectExpr(
            "*",
            f"{_people()} AS people",
            f"{_CONVERSATION} AS conversation",
            f"{_END_USER} AS person",
            f"{_known_records()} AS records",
            f"{_is_feedback()} AS skip",
            f"{_usage()} AS usage",
        )
        .selectExpr("*", *(f"{_tokens(*paths)} AS {name}" for name, paths in TOKENS.items()))
        .selectExpr("*", f"CASE WHEN ok AND response IS NOT NULL THEN {_answers()} END AS answers")
        .selectExpr("*", f"{_unknown()} AS unknown")
        .selectExpr("*", f"{_error_code()} AS error_code")
        .selectExpr("*", f"CASE WHEN NOT skip THEN {_REASON} END AS reason")
        .selectExpr(
            *kept,
            "skip",
            "reason",
            "CASE WHEN reason = 'length_mismatch' THEN concat(array_size(records), ' inputs, ', array_size(answers), ' outputs') END "
            "AS detail",
            f"CASE WHEN NOT skip AND reason IS NULL THEN {_EXCHANGES} END AS exchanges",
            f"CASE WHEN records IS NULL THEN 'unknown' WHEN {_not_null('q.prompt')} IS NOT NULL THEN 'completion' "
            f"WHEN {_EMBEDDINGS} THEN 'embedding' ELSE 'chat' END AS kind",
            "coalesce(conversation, get(people, 0).conversation_id) AS conversation_id",
            "coalesce(person, get(people, 0).end_user) AS end_user",
            "error_code",
            *(
                f"CASE WHEN {one_input} AND {name} BETWEEN 0 AND {MOST_TOKENS} THEN {name} END AS {name}"
                for name in TOKENS
            ),
        )
    )


def explode_exchanges(unpacked: DataFrame) -> DataFrame:
    """One row per exchange, with ``exchange_index`` and what belongs to the exchange, of the rows that have any."""
    own = ("prompt", "response", "context", "end_user", "conversation_id")
    payload = ("request", "response", "exchanges", "reason", "detail", "skip", "end_user", "conversation_id")
    others = [name for name in unpacked.columns if name not in payload]
    return (
        unpacked.where(F.col("exchanges").isNotNull())
        .select(*others, F.posexplode("exchanges").alias("exchange_index", "exchange"))
        .select(*others, "exchange_index", *(f"exchange.{name}" for name in own))
    )


def _pair(text: str) -> str:
    """SQL: VARIANT of an array of a JSON text and a number that no payload can know.

    ``try_parse_json`` accepts garbage after the text; between a text and this number there can't be any.
    """
    return f"try_parse_json(concat('[', {text}, ',{_SEAL}]'))"


def _whole(pair: str, text: str) -> str:
    """SQL: the pair where it was made of one JSON text; else NULL.

    Lone surrogates, which JSON allows and VARIANT refuses, are replaced by U+FFFD in a second try.
    """

    def checked(value: str) -> str:
        alone = f"try_variant_get({value}, '$[1]', 'bigint') = {_SEAL} AND try_variant_get({value}, '$[2]', 'variant') IS NULL"
        return f"CASE WHEN {alone} THEN {value} END"

    repaired = f"regexp_replace(regexp_replace({text}, r'{_LONE_HIGH}', '$1\ufffd'), r'{_LONE_LOW}', '$1\ufffd')"
    second = _let(repaired, "whole", _let(_pair("whole"), "pair", checked("pair")))
    return f"coalesce({checked(pair)}, CASE WHEN contains({text}, r'\\u') THEN {second} END)"


def _let(value: str, name: str, body: str) -> str:
    """SQL: ``body`` with ``value`` computed once under a name."""
    return f"transform(array({value}), {name} -> {body})[0]"


def _last(values: str, name: str, value: str) -> str:
    """SQL: ``value`` of the last of an array's elements, each under the name, for which it is not NULL."""
    return f"try_element_at(filter(transform({values}, {name} -> {value}), x -> x IS NOT NULL), -1)"


def _fields(pair: str, names: tuple[str, ...]) -> str:
    """SQL: the fields of a payload that is an object as a struct of VARIANTs; NULL for anything else."""
    return _get(pair, f"struct<{', '.join(f'{name}: variant' for name in names)}>", "$[0]")


def _get(value: str, kind: str, path: str = "$") -> str:
    """SQL: what a VARIANT holds at a path, as a type; NULL for another type or where there is nothing."""
    return f"try_variant_get({value}, '{path}', '{kind}')"


def _at(value: str, path: str) -> str:
    """SQL: what a VARIANT holds at a path; NULL where there is nothing."""
    return _get(value, "variant", f"$.{path}")


def _text(value: str, path: str = "$") -> str:
    """SQL: the string; NULL for anything that is not a JSON string (as a string a number would be one, too)."""
    return f"CAST({_get(value, 'binary', path)} AS string)"


def _first_text(*values: str) -> str:
    return f"coalesce({', '.join(_text(value) for value in values)})"


def _id(value: str, path: str = "$") -> str:
    """SQL: an id, which is a string or a whole number, as text."""
    return f"coalesce({_text(value, path)}, CAST({_get(value, 'bigint', path)} AS string))"


def _people() -> str:
    """SQL: array<struct<end_user, conversation_id>>, one per input of the call, where inputs name them each.

    An input is a record, a row of a table, a position in a table by columns, or the only one there is.
    """
    inputs = "coalesce(q.inputs, q.instances)"
    places = [f"p.{place}" for place in ("context.", "metadata.", "")]
    person = _person(
        [f"{place}{name}" for place in places for name in _USER], [f"{place}{_CONVERSED}" for place in places]
    )
    listed = _get(f"coalesce(q.dataframe_records, {inputs})", f"array<{_PERSON}>")
    within = ("context", "metadata")
    of_row = _person(
        [*(_at(_cell(place), name) for place in within for name in _USER), *map(_cell, _USER)],
        [*(_at(_cell(place), _CONVERSED) for place in within), _cell(_CONVERSED)],
    )
    columns = {name: _get(inputs, "array<variant>", f"$.{name}") for name in (*_USER, _CONVERSED)}
    length = f"greatest({', '.join(f'array_size({values})' for values in columns.values())})"
    at = {name: f"get({values}, i)" for name, values in columns.items()}
    by_column = f"transform(sequence(0, {length} - 1), i -> {_person([at[name] for name in _USER], [at[_CONVERSED]])})"
    # Most calls name nobody, and to find a word is cheaper than to read a table; a name may be escaped.
    named = " OR ".join(f"contains(request, r'{part}')" for part in ('"user', _CONVERSED, r"\u"))
    return (
        f"CASE WHEN NOT ({named}) THEN NULL WHEN q.dataframe_split IS NOT NULL THEN {_split_rows(of_row)} "
        f"WHEN {listed} IS NOT NULL THEN transform({listed}, p -> {person}) "
        f"WHEN {length} > 0 THEN {by_column} "
        f"WHEN {inputs} IS NOT NULL THEN transform(array({_get(inputs, _PERSON)}), p -> {person}) END"
    )


def _person(users: list[str], conversations: list[str]) -> str:
    """SQL: struct of the first user and the first conversation that there is."""
    first = [f"coalesce({', '.join(map(_id, values))})" for values in (users, conversations)]
    return f"named_struct('end_user', {first[0]}, 'conversation_id', {first[1]})"


def _usage() -> str:
    """SQL: the log's token counts: of the answer, of a stream's last chunk that has them, of the only prediction."""
    places = [_get("a.predictions", "variant", path) for path in ("$[0].usage", "$.usage")]
    return f"coalesce(a.usage, stream.usage, {', '.join(places)}, {_get('resp', 'variant', '$[0][0].usage')})"


def _tokens(*paths: str) -> str:
    return f"coalesce({', '.join(_get('usage', 'bigint', path) for path in paths)})"


def _content(value: str, path: str = "$") -> str:
    """SQL: a message's content: a string, or the text parts of a list of parts, one to a line."""
    strings = _get(value, "array<binary>", path)
    objects = _get(value, "array<struct<text: binary, refusal: binary>>", path)
    parts = f"zip_with({strings}, {objects}, (s, o) -> CAST(coalesce(s, o.text, o.refusal) AS string))"
    return (
        f"coalesce({_text(value, path)}, "
        f"aggregate({parts}, CAST(NULL AS string), (lines, part) -> coalesce(concat(lines, '\n', part), lines, part)))"
    )


def _messages(messages: str) -> str:
    """SQL: array<_MESSAGE> as array<struct<role, content>> of strings."""
    return (
        f"transform({messages}, m -> named_struct('role', CAST(m.role AS string), 'content', {_content('m.content')}))"
    )


def _items_as_messages(items: str) -> str:
    """SQL: array<_ASKED_ITEM>, items of the Responses API, as array<struct<role, content>> of strings.

    Only a message is said by somebody: reasoning, a call and its output have their type in the role's place.
    """
    kind = "CAST(m.type AS string)"
    role = f"coalesce(CAST(m.role AS string), CASE WHEN {kind} <> 'message' THEN {kind} END)"
    return f"transform({items}, m -> named_struct('role', {role}, 'content', {_content('m.content')}))"


def _last_asked(messages: str) -> str:
    """SQL: content of the user's last message; what has no role was said by the user. System text is no prompt."""
    return (
        f"try_element_at(filter({messages}, m -> m.role = 'user' OR (m.role IS NULL AND m.content IS NOT NULL)), -1)"
        ".content"
    )


def _last_answered(messages: str) -> str:
    """SQL: content of the agent's last message; of the last message where none is marked as the agent's."""
    chosen = f"filter({messages}, m -> m.role = 'assistant')"
    return f"CASE WHEN array_size({chosen}) > 0 THEN try_element_at({chosen}, -1).content ELSE try_element_at({messages}, -1).content END"


def _split_chat(history: str, query: str) -> str:
    """SQL: array<struct<role, content>> of an array<_MESSAGE> and the query after it; NULL where one is missing."""
    asked = f"array(named_struct('role', 'user', 'content', {_text(query)}))"
    return (
        f"CASE WHEN {_text(query)} IS NOT NULL AND {history} IS NOT NULL THEN concat({_messages(history)}, {asked}) END"
    )


def _history_record() -> str:
    """SQL: SplitChat, a query with the messages before it."""
    said = _split_chat(_get("q.history", f"array<{_MESSAGE}>"), "q.query")
    record = "CASE WHEN said IS NOT NULL THEN array(named_struct('messages', said, 'text', CAST(NULL AS string))) END"
    return _let(said, "said", record)


def _input_records() -> str:
    """SQL: ``input`` that is a list: texts to embed, or items of the Responses API, which are one conversation."""
    strings, items = _get("q.input", "array<binary>"), _get("q.input", f"array<{_ASKED_ITEM}>")
    texts = f"transform({strings}, i -> named_struct('messages', {_NO_MESSAGES}, 'text', CAST(i AS string)))"
    chat = f"array(named_struct('messages', {_items_as_messages(items)}, 'text', CAST(NULL AS string)))"
    kinds = _get("q.input", "array<struct<role: binary, type: binary>>")
    return (
        f"CASE WHEN NOT array_size({strings}) > 0 THEN NULL WHEN forall({strings}, i -> i IS NOT NULL) THEN {texts} "
        f"WHEN exists({kinds}, i -> i.role IS NOT NULL OR i.type IS NOT NULL) THEN {chat} END"
    )


def _listed_inputs(kind: str) -> str:
    """SQL: the inputs of the call, an array of a type, with NULL for those of another."""
    inputs, request = "coalesce(q.inputs, q.instances)", _get("req", kind, "$[0]")
    listed = [
        *(_get(value, f"array<{kind}>") for value in ("q.prompt", "q.dataframe_records", inputs)),
        # {"inputs": {"query": ["…", "…"]}}: a table by columns.
        *(_get(inputs, f"array<{kind}>", f"$.{name}") for name in PROMPT_FIELDS),
        f"CASE WHEN {inputs} IS NOT NULL THEN array({_get(inputs, kind)}) END",
        _get("req", f"array<{kind}>", "$[0]"),
        f"CASE WHEN req IS NOT NULL THEN array({request}) END",
    ]
    is_chat = f"{_get('req', 'array<struct<none: binary>>', '$[0].messages')} IS NOT NULL"
    return f"CASE WHEN {is_chat} THEN array({request}) ELSE coalesce({', '.join(listed)}) END"


def _records() -> str:
    """SQL: array<struct<messages, text>>, one per input of the call; text only without messages, both NULL where the shape is not known."""
    text = f"coalesce(CAST(s AS string), {', '.join(_content(f'f.{name}') for name in PROMPT_FIELDS)})"
    said = f"coalesce({_messages('f.messages')}, {_items('f.input')}, {_split_chat('f.history', 'f.query')})"
    record = f"named_struct('messages', {said}, 'text', CASE WHEN {said} IS NULL THEN {text} END)"
    listed = f"zip_with({_listed_inputs('binary')}, {_listed_inputs(_RECORD)}, (s, f) -> {record})"
    shapes = [
        _queries(),
        _split_records(),
        _history_record(),
        _input_records(),
        _token_records(),
        _chats_by_column(),
        listed,
    ]
    return f"coalesce({', '.join(shapes)})"


def _queries() -> str:
    """SQL: records that are a query each, as most are; what comes after says the same, and is slower."""
    none = "array<struct<none: binary>>"
    plain = _get(
        "q.dataframe_records", f"array<struct<query: binary, messages: {none}, input: {none}, history: {none}>>"
    )
    alone = " AND ".join(f"q.{name} IS NULL" for name in ("prompt", "dataframe_split", "input", "query"))
    record = f"named_struct('messages', {_NO_MESSAGES}, 'text', CAST(r.query AS string))"
    return (
        f"CASE WHEN {alone} AND {_get('req', none, '$[0].messages')} IS NULL "
        f"AND forall({plain}, r -> r.query IS NOT NULL AND r.messages IS NULL AND r.input IS NULL AND r.history IS NULL) "
        f"THEN transform({plain}, r -> {record}) END"
    )


def _items(value: str) -> str:
    """SQL: items of the Responses API as array<struct<role, content>>; NULL for anything else."""
    roles = _get(value, "array<struct<role: binary>>")
    items = _items_as_messages(_get(value, f"array<{_ASKED_ITEM}>"))
    return f"CASE WHEN exists({roles}, i -> i.role IS NOT NULL) THEN {items} END"


def _chats_by_column() -> str:
    """SQL: {"inputs": {"messages": [[…], […]]}}, a table by columns with a chat in each row."""
    chats = _get("coalesce(q.inputs, q.instances)", f"array<array<{_MESSAGE}>>", "$.messages")
    record = f"named_struct('messages', {_messages('chat')}, 'text', CAST(NULL AS string))"
    return f"CASE WHEN exists({chats}, chat -> chat IS NOT NULL) THEN transform({chats}, chat -> {record}) END"


def _token_records() -> str:
    """SQL: one or several texts that are given as token ids: there is no text to read."""
    given = f"coalesce(q.prompt, CASE WHEN {_EMBEDDINGS} THEN q.input END)"
    one, several = _get(given, "array<bigint>"), _get(given, "array<array<bigint>>")
    no_text = f"NOT exists({_get(given, 'array<binary>')}, s -> s IS NOT NULL)"
    return (
        f"CASE WHEN {no_text} AND {_all_known(one)} THEN array({_NOTHING_ASKED}) "
        f"WHEN {no_text} AND {_all_known(several)} THEN transform({several}, ids -> {_NOTHING_ASKED}) END"
    )


def _all_known(values: str) -> str:
    """SQL: whether an array has elements, and none that is NULL."""
    return f"(array_size({values}) > 0 AND forall({values}, v -> v IS NOT NULL))"


def _known_records() -> str:
    """SQL: the records; NULL where there is none, or one of a shape that isn't known: then the whole call is unreadable.

    Rows of a table have the same columns: where one of them has a prompt, those with null in its place have none.
    """
    known = "r -> r.messages IS NOT NULL OR r.text IS NOT NULL"
    table = f"(q.dataframe_split IS NOT NULL OR {_all_known(_listed_inputs('struct<none: binary>'))})"
    filled = f"transform(given, r -> CASE WHEN r.messages IS NULL AND r.text IS NULL THEN {_NOTHING_ASKED} ELSE r END)"
    return _let(
        _records(),
        "given",
        f"CASE WHEN array_size(given) > 0 AND forall(given, {known}) THEN given "
        f"WHEN exists(given, {known}) AND {table} THEN {filled} END",
    )


def _split_records() -> str:
    # A table with one unnamed or unknown column: its text is the prompt. Among several no guess is made.
    only = f"CASE WHEN array_size(cells) = 1 THEN {_text('cells[0]')} END"
    texts = [_content(_cell(name)) for name in PROMPT_FIELDS] + [only]
    chat, history = (_get(_cell(name), f"array<{_MESSAGE}>") for name in ("messages", "history"))
    said = f"coalesce({_messages(chat)}, {_items(_cell('input'))}, {_split_chat(history, _cell('query'))})"
    record = f"named_struct('messages', {said}, 'text', coalesce({', '.join(texts)}))"
    return f"CASE WHEN q.dataframe_split IS NOT NULL THEN {_split_rows(record)} END"


def _split_rows(value: str) -> str:
    """SQL: a value of each row of ``dataframe_split``, made of its cells (``_cell``)."""
    rows = f"transform({_get('q.dataframe_split', 'array<array<variant>>', '$.data')}, cells -> {value})"
    return _let(f"CAST({_get('q.dataframe_split', 'array<binary>', '$.columns')} AS array<string>)", "names", rows)


def _cell(name: str) -> str:
    """SQL: the cell in a row's column of that name."""
    return f"get(cells, array_position(names, '{name}') - 1)"


def _listed_answers(kind: str) -> str:
    """SQL: the predictions of the call, an array of a type, with NULL for those of another."""
    return (
        f"coalesce({_get('resp', f'array<{kind}>', '$[0]')}, {_get('a.predictions', f'array<{kind}>')}, "
        f"CASE WHEN {_not_null('a.predictions')} IS NOT NULL THEN array({_get('a.predictions', kind)}) "
        f"WHEN resp IS NOT NULL THEN array({_get('resp', kind, '$[0]')}) END)"
    )


def _answers() -> str:
    """SQL: array<struct<known, text>>, one per prediction of the call."""
    listed = f"zip_with({_listed_answers('binary')}, {_listed_answers(_ANSWER)}, (s, f) -> {_answer()})"
    data = _get("a.data", "array<struct<none: binary>>")
    embedded = f"transform({data}, v -> named_struct('known', true, 'text', CAST(NULL AS string)))"
    streamed = f"coalesce({_streamed_by_prompt()}, array(named_struct('known', true, 'text', stream.text)))"
    # What most answers are, in generated code: the lambdas below say the same and are interpreted.
    choice = _text("resp", "$[0].choices[0].message.content")
    in_order = f"coalesce({_get('resp', 'bigint', '$[0].choices[0].index')}, 0) = 0"
    chat = (
        f"CASE WHEN a.predictions IS NULL AND {in_order} AND {choice} IS NOT NULL "
        f"THEN array(named_struct('known', true, 'text', {choice})) END"
    )
    return (
        f"CASE WHEN stream IS NOT NULL THEN {streamed} WHEN {_EMBEDDINGS} THEN {embedded} "
        f"ELSE coalesce({_answers_by_prompt()}, {chat}, {listed}) END"
    )


def _unknown() -> str:
    """SQL: whether one of the answers has a shape that isn't known; null is an answer, and none was given."""
    given = f"zip_with(answers, {_listed_answers('variant')}, (v, raw) -> NOT v.known AND NOT is_variant_null(raw))"
    return f"CASE WHEN exists(answers, v -> NOT v.known) THEN exists({given}, u -> u) ELSE false END"


def _answers_by_prompt() -> str:
    """SQL: of a completion of several prompts each prompt's first choice; NULL for another number of choices."""
    kind = "array<struct<index: bigint, text: binary, message: struct<content: variant>>>"
    order = "(l, r) -> CASE WHEN l.index < r.index THEN -1 WHEN l.index > r.index THEN 1 ELSE 0 END"
    choices = f"array_sort({_get('resp', kind, '$[0].choices')}, {order})"
    choice = "choices[i * CAST(array_size(choices) / array_size(records) AS int)]"
    text = f"coalesce(CAST(c.text AS string), {_content('c.message.content')})"
    answer = _let(choice, "c", f"named_struct('known', true, 'text', {text})")
    chosen = (
        "CASE WHEN array_size(choices) >= array_size(records) AND array_size(choices) % array_size(records) = 0 "
        f"THEN {_per_prompt(answer)} END"
    )
    return f"CASE WHEN {_SEVERAL_PROMPTS} THEN {_let(choices, 'choices', chosen)} END"


def _streamed_by_prompt() -> str:
    """SQL: the same of a streamed completion, from the text of all chunks."""
    kind = "array<struct<choices: array<struct<index: bigint, text: binary>>>>"
    chunks = f"transform({_get('resp', kind, '$[0]')}, e -> coalesce(e.choices, array()))"
    choices = f"filter(flatten({chunks}), c -> c.text IS NOT NULL)"
    each = "CAST(n / array_size(records) AS int)"
    of_prompt = f"filter(choices, c -> coalesce(c.index, 0) = i * {each})"
    text = f"array_join(transform({of_prompt}, c -> CAST(c.text AS string)), '')"
    answer = f"named_struct('known', true, 'text', {text})"
    chosen = f"CASE WHEN n % array_size(records) = 0 THEN {_per_prompt(answer)} END"
    # No number of choices is NULL, and then the call's answers don't match its prompts.
    known = f"forall(choices, c -> coalesce(c.index BETWEEN 0 AND {MOST_CHOICES}, true))"
    number = f"CASE WHEN {known} THEN 1 + CAST(array_max(transform(choices, c -> c.index)) AS int) END"
    return f"CASE WHEN {_SEVERAL_PROMPTS} THEN {_let(choices, 'choices', _let(number, 'n', chosen))} END"


def _per_prompt(answer: str) -> str:
    """SQL: an array of answers, one per prompt ``i``."""
    return f"transform(sequence(0, array_size(records) - 1), i -> {answer})"


def _lines_as_array(column: str) -> str:
    """SQL: server-sent events (``data:`` lines, the last one ``[DONE]``) as the text of a JSON array.

    Source: WHATWG HTML, "Server-sent events"; OpenAI API reference, "Streaming".
    """
    lines = f"split(ltrim({column}), r'\\r?\\n')"
    data = f"transform({lines}, l -> CASE WHEN startswith(l, 'data:') THEN trim(substr(l, 6)) END)"
    return f"concat('[', array_join(filter({data}, l -> l IS NOT NULL AND l <> '' AND l <> '[DONE]'), ','), ']')"


def _stream() -> str:
    """SQL: struct<text, usage, error> of a streamed answer; NULL for any other.

    The usage is that of the last chunk that has any.
    """
    usage = _last("events", "e", f"coalesce({_not_null('e.usage')}, {_not_null('e.response.usage')})")
    places = ("e.databricks_output.error", "e.error", "e.response.error")
    error = _last("events", "e", f"coalesce({', '.join(map(_not_null, places))})")
    said = "coalesce(e.error_code, CASE WHEN CAST(e.type AS string) = 'error' THEN coalesce(e.code, e.type) END)"
    code = f"CAST({_last('events', 'e', said)} AS string)"
    body = f"named_struct('text', {_streamed_text()}, 'usage', {usage}, 'error', {error}, 'code', {code})"
    events = _get("resp", f"array<{_EVENT}>", "$[0]")
    return f"CASE WHEN {_is_stream()} THEN {_let(events, 'events', body)} END"


def _is_stream() -> str:
    """SQL: whether the answer is a list of chunks."""
    shape = (
        "array<struct<object: binary, type: binary, delta: struct<content: variant>, choices: array<struct<delta: variant>>, "
        "databricks_output: struct<error: variant>>>"
    )
    is_chunk = (
        "CAST(e.object AS string) LIKE '%.chunk' OR CAST(e.type AS string) LIKE 'response.%' "
        "OR e.delta.content IS NOT NULL OR get(e.choices, 0).delta IS NOT NULL OR e.databricks_output.error IS NOT NULL"
    )
    first = f"coalesce({_text('resp', '$[0][0].object')} LIKE '%.chunk', false)"  # spares looking at all of them
    is_list = f"{_get('resp', 'array<struct<none: binary>>', '$[0]')} IS NOT NULL"
    return f"{first} OR exists({_get('resp', shape, '$[0]')}, e -> {is_chunk}) OR ({_IS_LINES} AND {is_list})"


def _streamed_text() -> str:
    """SQL: the answer that the chunks come to.

    The last of the finished items where there are any, else the deltas of the last item or message joined. What a tool
    has said is no answer.
    """
    choice = "CASE WHEN coalesce(get(e.choices, 0).index, 0) = 0 THEN get(e.choices, 0) ELSE try_element_at(filter(e.choices, c -> c.index = 0), 1) END"
    delta = (
        f"coalesce(({choice}).delta.content, ({choice}).text)",
        f"CASE WHEN CAST(e.type AS string) IN ('response.output_text.delta', 'response.refusal.delta') THEN {_get('e.delta', 'binary')} END",
        f"CASE WHEN coalesce({_text('e.delta', '$.role')}, 'assistant') = 'assistant' THEN {_get('e.delta', 'binary', '$.content')} END",
    )
    of = f"coalesce(CAST(e.item_id AS string), {_text('e.delta', '$.id')})"
    said = f"transform(events, e -> named_struct('text', CAST(coalesce({', '.join(delta)}) AS string), 'of', {of}))"
    last = "filter(deltas, d -> d.of <=> try_element_at(deltas, -1).of)"
    joined = _let(
        f"filter({said}, d -> d.text IS NOT NULL)",
        "deltas",
        f"CASE WHEN array_size(deltas) > 0 THEN array_join(transform({last}, d -> d.text), '') END",
    )
    completed = _last("events", "e", "e.response.output")
    spoken = _let(joined, "joined", f"coalesce(nullif(joined, ''), {_streamed_parts()}, joined)")
    return f"coalesce({_items_text(completed)}, {_items_text('transform(events, e -> e.item)')}, {spoken})"


def _streamed_parts() -> str:
    """SQL: the text of chunks whose content is a list of parts; reasoning has none. NULL without any.

    Source: Databricks, "Query reasoning models".
    """
    kind = "array<struct<choices: array<struct<index: bigint, delta: struct<content: array<struct<text: binary>>>>>>>"
    chunks = f"transform({_get('resp', kind, '$[0]')}, e -> coalesce(e.choices, array()))"
    first = f"filter(flatten({chunks}), c -> coalesce(c.index, 0) = 0 AND c.delta.content IS NOT NULL)"
    return f"nullif(array_join(transform(flatten(transform({first}, c -> c.delta.content)), p -> CAST(p.text AS string)), ''), '')"


def _items_text(items: str) -> str:
    """SQL: text of the last message among output items of the Responses API; calls and reasoning are not said to anyone."""
    is_message = "coalesce(CAST(i.type AS string), 'message') = 'message'"
    return _last(items, "i", f"CASE WHEN {is_message} THEN {_content('i.content')} END")


def _not_null(value: str) -> str:
    return f"CASE WHEN NOT is_variant_null({value}) THEN {value} END"


def _error_code() -> str:
    """SQL: the code of a failure.

    Of a stream that broke off after status 200, of a guardrail's block, or of the error, also where an error stands for
    the answer or beside it in spite of status 200.

    A guardrail's block is JSON in the error's message, with its name in ``finishReason``. Messages are no codes: they can
    quote the user. So can what stands where a code belongs; if it does not look like one it becomes ``error``.
    """
    name = _first_text(*(_at("broken", name) for name in ("error_code", "code", "type")))
    code = f"CASE WHEN broken IS NOT NULL AND NOT is_variant_null(broken) THEN coalesce({name}, 'error') END"
    of_stream = _let(f"coalesce({_at('a.databricks_output', 'error')}, stream.error)", "broken", code)
    blocked = _text(f"try_parse_json({_text('a.message')})", "$.finishReason")
    of_status = _first_text("a.error_code", _at("a.error", "code"), _at("a.error", "type"), "a.code")
    # An object: answers that have an error have none, or say null or "".
    beside = f"{_get('a.error', 'struct<none: binary>')} IS NOT NULL"
    instead = f"CASE WHEN NOT ok OR unknown OR {beside} THEN coalesce({blocked}, {of_status}) END"
    other = f"CASE WHEN ok AND {beside} THEN 'error' END"
    found = f"coalesce({of_stream}, stream.code, {instead}, {other})"
    return _let(
        found, "code", r"CASE WHEN code RLIKE r'^[\w.:/-]{1,80}$' THEN code WHEN code IS NOT NULL THEN 'error' END"
    )


def _answer() -> str:
    """SQL: struct<known, text> of a string or an _ANSWER: its first choice, the agent's last message, or the field that holds it.

    A tool call has a choice or a message without content: it is known, and without text.
    """
    output = _get("f.output", f"array<{_ITEM}>")
    with_index_0 = (
        f"try_element_at(filter({_get('f.choices', 'array<variant>')}, c -> {_get('c', 'bigint', '$.index')} = 0), 1)"
    )
    in_order = f"coalesce({_get('f.choices', 'bigint', '$[0].index')}, 0) = 0"
    choice = f"CASE WHEN NOT {in_order} THEN {with_index_0} ELSE {_get('f.choices', 'variant', '$[0]')} END"
    texts = [
        "CAST(s AS string)",
        _let(
            choice,
            "c",
            f"coalesce({_content('c', '$.message.content')}, {_text('c', '$.message.refusal')}, {_text('c', '$.text')})",
        ),
        f"CASE WHEN f.messages IS NOT NULL THEN {_let(_messages('f.messages'), 'agent', _last_answered('agent'))} END",
        _items_text(output),
        _content("f.content"),
        *(_text("f.output") if name == "output" else f"CAST(f.{name} AS string)" for name in ANSWER_FIELDS),
    ]
    known = (
        f"t IS NOT NULL OR {_get('f.choices', 'variant', '$[0].message')} IS NOT NULL "
        f"OR coalesce(array_size(f.messages) > 0, false) OR {output} IS NOT NULL"
    )
    return _let(f"coalesce({', '.join(texts)})", "t", f"named_struct('known', {known}, 'text', t)")


def _is_feedback() -> str:
    """SQL: whether the row is a rating that a review app sent to the endpoint; it lands in the same table."""
    ratings = [_get("q.dataframe_records", "variant", f"$[0].{kind}_assessments") for kind in ("text", "retrieval")]
    return f"coalesce({', '.join(_not_null(rating) for rating in ratings)}) IS NOT NULL"


# Longer than any of the names is no prefix that has to be looked at: the payload itself can be long.
_IS_LINES = "left(ltrim(response), 6) RLIKE r'^(data|event|id|retry|):'"
_NO_MESSAGES = "CAST(NULL AS array<struct<role: string, content: string>>)"
_NOTHING_ASKED = f"named_struct('messages', coalesce({_NO_MESSAGES}, array()), 'text', CAST(NULL AS string))"
_SEVERAL_PROMPTS = "q.prompt IS NOT NULL AND array_size(records) > 1"
_EMBEDDINGS = f"coalesce({_text('a.data', '$[0].object')} = 'embedding', false)"

_REASON = """CASE
    WHEN request_time IS NULL THEN 'no_request_time'
    WHEN ok AND request IS NOT NULL AND req IS NULL THEN 'invalid_request_json'
    WHEN ok AND response IS NOT NULL AND resp IS NULL THEN 'invalid_response_json'
    WHEN ok AND request IS NOT NULL AND records IS NULL THEN 'unknown_request_shape'
    WHEN ok AND error_code IS NOT NULL THEN NULL
    WHEN ok AND unknown THEN 'unknown_response_shape'
    WHEN array_size(records) <> array_size(answers) THEN 'length_mismatch'
END"""

_CONTEXT = """CASE
    WHEN r.messages IS NOT NULL THEN to_json(r.messages)
    WHEN r.text IS NOT NULL THEN to_json(array(named_struct('role', 'user', 'content', r.text)))
END"""

_CONVERSATION = (
    f"coalesce({', '.join(_id(place, '$.conversation_id') for place in ('q.context', 'q.databricks_options'))})"
)
_END_USER = (
    f"coalesce({', '.join(_id(place, f'$.{name}') for place in ('q.context', 'q.metadata') for name in ('user_id', 'user'))}, "
    f"{_id('q.user')})"
)

_EXCHANGE = f"""named_struct(
    'prompt', CASE WHEN r.messages IS NOT NULL THEN {_last_asked("r.messages")} ELSE r.text END,
    'response', get(answers, i).text,
    'context', {_CONTEXT},
    'end_user', coalesce(person, get(people, i).end_user),
    'conversation_id', coalesce(conversation, get(people, i).conversation_id)
)"""

# Where the log holds neither request nor response there is still one exchange: the request was made.
_EXCHANGES = f"""transform(
    sequence(0, greatest(coalesce(array_size(records), array_size(answers), 1), 1) - 1),
    i -> {_let("get(records, i)", "r", _EXCHANGE)}
)"""
