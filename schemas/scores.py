"""``scores``: one row per exchange (prompt and response) of the inference table."""

from __future__ import annotations

from schemas import Column, Table, columns
from schemas.errors import ScorerError
from schemas.installed import scorers
from schemas.scorers import SCORERS

_SCORED = tuple(column for scorer in scorers() for column in scorer.columns)

SCORES = Table(
    name="scores",
    comment="One row per exchange of the inference table, with its quality scores.",
    columns=columns(
        (
            "request_id",
            "string",
            "The log's id of the request, the same for every exchange of a batched call; <id>#<16 digits of "
            "content_hash> where another call of that date has the id",
        ),
        ("exchange_index", "int", "Position of the exchange in a batched call, from 0"),
        ("client_request_id", "string", "Id that the caller sent, if any"),
        ("conversation_id", "string", "Conversation that the request names, if any"),
        ("turn", "int", "In how many of the request's messages the user says something; 1 for a first question"),
        ("system_prompt_hash", "string", "HMAC-SHA-256 of the system's texts, with their kind (hex)"),
        ("prompt_version", "string", "Version of the prompt, as name/version, where the log names one"),
        ("finish_reason", "string", "Why the model stopped, as the payload words it"),
        ("request_time", "timestamp", "When the endpoint received the request (UTC)"),
        ("request_date", "date", "UTC date of request_time"),
        ("endpoint_name", "string", "Serving endpoint"),
        ("model_name", "string", "Registered model, or served entity id where the log names no model"),
        ("model_version", "string", "Version of the registered model"),
        ("served_entity_id", "string", "Served entity of the endpoint, where the log has it"),
        ("requester_hash", "string", "HMAC-SHA-256 of the caller's identity (hex)"),
        ("end_user_hash", "string", "HMAC-SHA-256 of the end user that the payload names (hex)"),
        ("kind", "string", "chat, completion, embedding or unknown"),
        ("status_code", "int", "HTTP status of the response"),
        ("error_code", "string", "Code of a failure, of the status or told by the response"),
        ("sampling_fraction", "double", "Share of requests that the endpoint logged, as logged"),
        ("execution_duration_ms", "bigint", "Time that the model took, in milliseconds"),
        ("latency_ms", "bigint", "Time that the client waited, in milliseconds, where the log has it"),
        ("time_to_first_byte_ms", "bigint", "Milliseconds to the first byte, where the log has it"),
        ("prompt", "string", "Last message in which the user says something, as text.store allows"),
        ("response", "string", "First choice of the response, as text.store allows"),
        ("prompt_hash", "string", "HMAC-SHA-256 of the prompt (hex)"),
        ("response_hash", "string", "HMAC-SHA-256 of the response (hex)"),
        ("context_hash", "string", "HMAC-SHA-256 of all input messages (hex); pairs equal requests"),
        ("prompt_chars", "int", "Characters (Unicode code points) of the prompt"),
        ("prompt_words", "int", "Words of the prompt, split at white space"),
        ("response_chars", "int", "Characters (Unicode code points) of the response"),
        ("response_words", "int", "Words of the response, split at white space"),
        (
            "language",
            "string",
            "Language of the prompt (ISO 639), or of the response where the prompt is too short to tell",
        ),
        ("slices", "map<string,string>", "Value of each slicing expression"),
        ("input_tokens", "bigint", "Tokens of all input messages, those from or into a cache included"),
        ("output_tokens", "bigint", "Tokens of the response"),
        ("cached_input_tokens", "bigint", "Input tokens that the endpoint took from its cache"),
        ("cache_write_input_tokens", "bigint", "Input tokens that the endpoint put into its cache"),
        ("token_source", "string", "usage (the log's figures), tokenizer (counted here), or both as usage+tokenizer"),
        ("cost", "double", "Price of the exchange (not filled yet)"),
        ("currency", "string", "Currency of cost"),
        *(Column(column.name, column.type, column.comment) for column in _SCORED),
        ("score_errors", "map<string,string>", "Why a score is NULL, by column"),
        ("scorers", "map<string,string>", "Fingerprint of the scorer, by column"),
        ("content_hash", "string", "Status and payloads: 8 hex digits of the key's check value, 32 of an HMAC-SHA-256"),
        ("earlier_hashes", "array<string>", "Its content hashes before the row was updated in the inference table"),
        ("unpacker", "string", "What has read the payloads: its version and settings; NULL: version 1"),
        ("sample_rate", "double", "Share of successful requests that were scored when this one came"),
        ("sampled", "boolean", "Whether the exchange was chosen by scoring.sample_rate to be scored"),
        ("scored_at", "timestamp", "When the row was scored (UTC)"),
        ("checkpoint_id", "string", "Id of the streaming query that wrote the row"),
        ("batch_id", "bigint", "Micro-batch that wrote the row"),
    ),
    keys=("request_date", "request_id", "exchange_index"),
    partition_by="request_date",
    day="request_date",
    counted_by="request_id",
    holds_text=("prompt", "response"),
    checks={
        "valid_scores": " AND ".join(
            [
                "request_id IS NOT NULL AND request_time IS NOT NULL AND request_date = CAST(request_time AS DATE)",
                # Of ours alone: a constraint must not depend on what is installed.
                *(column.check for scorer in SCORERS for column in scorer.columns if column.check),
            ]
        )
    },
    properties={
        "delta.enableChangeDataFeed": "true",
        # No text in the statistics of the table's log: they outlive a deleted row.
        "delta.dataSkippingStatsColumns": "request_id,exchange_index,request_time,model_version,scored_at,batch_id",
    },
)

SCORED_COLUMNS = tuple(column.name for column in _SCORED)
"""Columns of ``scores`` that a scorer computes, and whose fingerprint ``scorers`` holds."""

if _twice := sorted(name for name in SCORED_COLUMNS if SCORES.column_names.count(name) > 1):
    raise ScorerError(f"a scorer has a column that scores has without it: {', '.join(_twice)}")
