"""Prompts and responses out of the JSON payloads that an endpoint logs.

Native Spark expressions on VARIANT, no Python per row. Shapes: chat and text completions (OpenAI), ``dataframe_records``,
``dataframe_split``, ``inputs`` and ``instances`` (MLflow scoring protocol) with ``predictions``, bare arrays of results,
ChatAgent (MLflow). A payload that can't be read gets a ``reason`` (schemas/quarantine.py) and no exchanges.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyspark.sql import functions as F

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

PROMPT_FIELDS = ("query", "question", "prompt", "input", "text")
ANSWER_FIELDS = ("result", "answer", "output_text", "output", "response", "generated_text", "text")
_LONE_HIGH = r"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])"
_LONE_LOW = r"(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_REPLACEMENT = "\ufffd"


def unpack_payload(rows: DataFrame) -> DataFrame:
    """Adds what the payloads hold to rows with common column names (dialects.py).

    Returns:
        The rows without ``logging_error_codes``, with ``exchanges`` (array of prompt, response, context), ``kind``,
        ``conversation_id``, ``end_user``, ``error_code``, the log's token counts ``usage_input_tokens``,
        ``usage_output_tokens`` and ``cached_input_tokens`` (NULL for a batched call: they can't be divided),
        ``reason`` and ``detail`` (why the row can't be unpacked; NULL when it can) and ``skip`` (feedback, no traffic).
    """
    parsed = rows.withColumns({"req": parse_json(F.col("request")), "resp": parse_json(F.col("response"))})
    shaped = parsed.withColumns(
        {
            "ok": F.coalesce(F.col("status_code") == 200, F.lit(False)),
            "records": _records(F.col("req")),
            "answers": _answers(F.col("resp")),
            "usage_of": F.try_variant_get("resp", "$.usage", "variant"),
        }
    )
    judged = shaped.withColumns(
        {
            "skip": _is_feedback(F.col("req")),
            "answers": F.when(F.col("ok") & F.col("response").isNotNull(), F.col("answers")),
        }
    ).withColumns({"reason": _reason(), "n": F.coalesce(F.size("records"), F.size("answers"), F.lit(1))})
    single = F.coalesce(F.size("records"), F.lit(1)) == 1
    return judged.select(
        *(name for name in rows.columns if name != "logging_error_codes"),
        "skip",
        F.when(~F.col("skip"), F.col("reason")).alias("reason"),
        _detail().alias("detail"),
        F.when(~F.col("skip") & F.col("reason").isNull(), _exchanges()).alias("exchanges"),
        _kind(F.col("req")).alias("kind"),
        _first_text(F.col("req"), "$.context.conversation_id", "$.databricks_options.conversation_id").alias(
            "conversation_id"
        ),
        _first_text(F.col("req"), "$.context.user_id", "$.user", "$.metadata.user_id").alias("end_user"),
        F.when(~F.col("ok"), _error_code(F.col("resp"))).alias("error_code"),
        F.when(single, _number("usage_of", "$.prompt_tokens", "$.input_tokens")).alias("usage_input_tokens"),
        F.when(single, _number("usage_of", "$.completion_tokens", "$.output_tokens")).alias("usage_output_tokens"),
        F.when(
            single,
            _number("usage_of", "$.prompt_tokens_details.cached_tokens", "$.input_tokens_details.cached_tokens"),
        ).alias("cached_input_tokens"),
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


def parse_json(text: Column) -> Column:
    """VARIANT of a JSON text; NULL for what is no JSON, or has anything after it.

    ``try_parse_json`` accepts trailing garbage; as the first of two elements of an array it can't hide. Lone surrogates,
    which JSON allows and VARIANT refuses, are replaced by U+FFFD in a second try.
    """
    repaired = F.regexp_replace(F.regexp_replace(text, _LONE_HIGH, _REPLACEMENT), _LONE_LOW, _REPLACEMENT)
    return F.coalesce(_whole(text), F.when(text.contains("\\u"), _whole(repaired)))


def _whole(text: Column) -> Column:
    pair = F.try_variant_get(F.try_parse_json(F.concat(F.lit("["), text, F.lit(",0]"))), "$", "array<variant>")
    return F.when(F.size(pair) == 2, pair[0])


def _array(value: Column, path: str = "$") -> Column:
    return F.try_variant_get(value, path, "array<variant>")


def _text(value: Column, path: str = "$") -> Column:
    """The string at the path; NULL for anything that is not a JSON string."""
    found = F.try_variant_get(value, path, "variant")
    return F.when(F.schema_of_variant(found) == "STRING", F.try_variant_get(found, "$", "string"))


def _first_text(value: Column, *paths: str) -> Column:
    return F.coalesce(*(_text(value, path) for path in paths))


def _number(column: str, *paths: str) -> Column:
    return F.coalesce(*(F.try_variant_get(column, path, "bigint") for path in paths))


def _content(value: Column, path: str = "$") -> Column:
    """A message's content: a string, or the text parts of a list of parts, one to a line."""
    parts = F.transform(_array(value, path), lambda part: F.coalesce(_text(part), _text(part, "$.text")))
    return F.coalesce(_text(value, path), F.array_join(F.filter(parts, lambda part: part.isNotNull()), "\n"))


def _messages(messages: Column) -> Column:
    """array<variant> → array<struct<role, content>>."""
    return F.transform(
        messages,
        lambda message: F.struct(_text(message, "$.role").alias("role"), _content(message, "$.content").alias("content")),
    )


def _last_of(messages: Column, role: str) -> Column:
    """Content of the last message of a role; of the last message where no message has the role."""
    of_role = F.filter(messages, lambda message: message["role"] == role)
    return F.when(F.size(of_role) > 0, F.get(of_role, F.size(of_role) - 1)).otherwise(
        F.get(messages, F.size(messages) - 1)
    )["content"]


def _record(messages: Column, text: Column) -> Column:
    """struct<messages, text>: one input of a call; both NULL where the shape is not known."""
    return F.struct(_messages(messages).alias("messages"), text.alias("text"))


def _record_of(value: Column) -> Column:
    text = F.coalesce(_text(value), *(_content(value, f"$.{name}") for name in PROMPT_FIELDS))
    return _record(_array(value, "$.messages"), text)


def _records(request: Column) -> Column:
    """array<struct<messages, text>>, one per input of the call; NULL where the shape is not known."""
    inputs = F.coalesce(
        F.try_variant_get(request, "$.inputs", "variant"), F.try_variant_get(request, "$.instances", "variant")
    )
    columnar = F.coalesce(*(_array(inputs, f"$.{name}") for name in PROMPT_FIELDS))
    records = F.coalesce(
        F.when(_array(request, "$.messages").isNotNull(), F.array(_record_of(request))),
        F.transform(_array(request, "$.prompt"), _record_of),
        F.transform(_array(request, "$.dataframe_records"), _record_of),
        _split_records(request),
        F.transform(_array(inputs), _record_of),
        F.transform(columnar, _record_of),
        F.when(inputs.isNotNull(), F.array(_record_of(inputs))),
        F.transform(_array(request), _record_of),
        F.when(request.isNotNull(), F.array(_record_of(request))),
    )
    known = F.forall(records, lambda record: record["messages"].isNotNull() | record["text"].isNotNull())
    return F.when((F.size(records) > 0) & known, records)


def _split_records(request: Column) -> Column:
    names = F.try_variant_get(request, "$.dataframe_split.columns", "array<string>")

    def record(row: Column) -> Column:
        cells = _array(row)

        def cell(name: str) -> Column:
            return F.get(cells, F.array_position(names, F.lit(name)).cast("int") - 1)

        text = F.coalesce(*(_content(cell(name)) for name in PROMPT_FIELDS), _text(F.get(cells, F.lit(0))))
        return _record(_array(cell("messages")), text)

    return F.transform(_array(request, "$.dataframe_split.data"), record)


def _answers(response: Column) -> Column:
    """array<struct<known, text>>, one per prediction of the call; NULL where there is no response."""
    predictions = F.try_variant_get(response, "$.predictions", "variant")
    return F.coalesce(
        F.transform(_array(response), _answer_of),
        F.transform(_array(predictions), _answer_of),
        F.when(predictions.isNotNull(), F.array(_answer_of(predictions))),
        F.when(response.isNotNull(), F.array(_answer_of(response))),
    )


def _answer_of(value: Column) -> Column:
    """The first choice, or the agent's last message, or the field that holds the answer."""
    messages = _messages(_array(value, "$.messages"))
    text = F.coalesce(
        _text(value),
        _content(value, "$.choices[0].message.content"),
        _text(value, "$.choices[0].text"),
        _last_of(messages, "assistant"),
        _content(value, "$.content"),
        *(_text(value, f"$.{name}") for name in ANSWER_FIELDS),
    )
    # A tool call has a choice or a message without content: known, and without text.
    first_choice = F.try_variant_get(value, "$.choices[0].message", "variant")
    known = text.isNotNull() | first_choice.isNotNull() | (F.size(messages) > 0)
    return F.struct(F.coalesce(known, F.lit(False)).alias("known"), text.alias("text"))


def _is_feedback(request: Column) -> Column:
    """Whether the row is a rating that a review app sent to the endpoint; it lands in the same table."""
    ratings = F.coalesce(
        F.try_variant_get(request, "$.dataframe_records[0].text_assessments", "variant"),
        F.try_variant_get(request, "$.dataframe_records[0].retrieval_assessments", "variant"),
    )
    return ratings.isNotNull() & ~F.coalesce(F.is_variant_null(ratings), F.lit(True))


def _reason() -> Column:
    """Why the row can't be unpacked. Requests that failed are kept whatever their payloads are: they are the error rate."""
    ok, request, response = F.col("ok"), F.col("request"), F.col("response")
    records, answers = F.col("records"), F.col("answers")
    unknown_answer = F.exists(answers, lambda answer: ~answer["known"])
    return (
        F.when(F.col("request_time").isNull(), F.lit("no_request_time"))
        .when(ok & request.isNotNull() & F.col("req").isNull(), F.lit("invalid_request_json"))
        .when(ok & response.isNotNull() & F.col("resp").isNull(), F.lit("invalid_response_json"))
        .when(ok & request.isNotNull() & records.isNull(), F.lit("unknown_request_shape"))
        .when(ok & response.isNotNull() & unknown_answer, F.lit("unknown_response_shape"))
        .when(F.size(records) != F.size(answers), F.lit("length_mismatch"))
    )


def _detail() -> Column:
    return F.when(
        F.col("reason") == "length_mismatch",
        F.concat(F.size("records").cast("string"), F.lit(" inputs, "), F.size("answers").cast("string"), F.lit(" outputs")),
    )


def _exchanges() -> Column:
    def exchange(position: Column) -> Column:
        record = F.get(F.col("records"), position)
        messages, text = record["messages"], record["text"]
        as_message = F.array(F.struct(F.lit("user").alias("role"), text.alias("content")))
        context = F.when(messages.isNotNull(), F.to_json(messages)).when(text.isNotNull(), F.to_json(as_message))
        return F.struct(
            F.when(messages.isNotNull(), _last_of(messages, "user")).otherwise(text).alias("prompt"),
            F.get(F.col("answers"), position)["text"].alias("response"),
            context.alias("context"),
        )

    return F.transform(F.sequence(F.lit(0), F.col("n") - 1), exchange)


def _kind(request: Column) -> Column:
    completion = F.try_variant_get(request, "$.prompt", "variant").isNotNull()
    return (
        F.when(request.isNull() | F.col("records").isNull(), F.lit("unknown"))
        .when(completion, F.lit("completion"))
        .otherwise(F.lit("chat"))
    )


def _error_code(response: Column) -> Column:
    return _first_text(response, "$.error_code", "$.error.code", "$.error.type", "$.code")
