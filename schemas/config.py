"""The settings: one frozen tree of typed defaults that a YAML file and ``--set`` override.

Every mistake is reported at once, with the key's path and what would be right, before anything is written.
Paths in a file are relative to that file. Secrets are never values in a file: ``env:NAME`` names a variable.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SerializeAsAny,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    create_model,
    model_validator,
)

from schemas.errors import ConfigError
from schemas.installed import scorers
from schemas.scorers import PerplexityModel, Readability, Scorer, ToxicityModel
from schemas.settings import Settings
from schemas.source import COMMON_COLUMNS, NEEDED

AVAILABLE_NOW = "availableNow"
OFF = "off"
TEXT_KEY_VARIABLE = "TEXT_HASH_KEY"
MAX_FILE_BYTES = 1 << 20

_UNIT_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 604800, "year": 365 * 86400}
_DURATION = re.compile(rf"^([1-9]\d*) ({'|'.join(_UNIT_SECONDS)})s?$")
_IDENTIFIER = re.compile(r"^[\w-]+$")


def _duration(value: str) -> str:
    if not _DURATION.match(value):
        raise ValueError(f"must be a whole number and a unit, for example '5 minutes' ({', '.join(_UNIT_SECONDS)})")
    return value


def duration_seconds(value: str) -> int:
    """Seconds of a duration such as ``5 minutes``."""
    number, unit = value.split(" ")
    return int(number) * _UNIT_SECONDS[unit.removesuffix("s")]


def _granularity(value: str) -> str:
    if 86400 % duration_seconds(_duration(value)):
        raise ValueError("must divide a UTC day evenly, for example '1 minute', '15 minutes', '6 hours' or '1 day'")
    return value


def _days(value: str) -> str:
    seconds = duration_seconds(_duration(value))
    if seconds % 86400 or seconds > 36500 * 86400:
        raise ValueError("must be whole days and at most 100 years, for example '90 days' or '3 years' (of 365 days)")
    return value


def _off(value: object) -> object:
    """``off``, which YAML reads as false."""
    return OFF if value is False else value


def _distinct(value: tuple[str, ...]) -> tuple[str, ...]:
    if not value or len({duration_seconds(one) for one in value}) < len(value):
        raise ValueError("must be at least one, and each length only once")
    return value


def _trigger(value: str) -> str:
    return AVAILABLE_NOW if value.replace("-", "").lower() == "availablenow" else _duration(value)


def _secret_reference(value: str) -> str:
    if not value.startswith("env:") or len(value) == 4:
        raise ValueError("must name an environment variable, for example 'env:TEXT_HASH_KEY'; secrets are not values")
    if value[4:] not in os.environ:
        raise ValueError(f"names the environment variable {value[4:]}, which is not set")
    return value


def _table_name(value: str) -> str:
    if not all(_IDENTIFIER.match(part) for part in value.split(".")):
        raise ValueError("must be a name such as catalog.schema.table (letters, digits, _ and -)")
    return value


def _time_as_text(value: object) -> object:
    return value.isoformat() if isinstance(value, date) else value


def _version_as_text(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Duration = Annotated[str, AfterValidator(_duration)]
Granularity = Annotated[str, AfterValidator(_granularity)]
Days = Annotated[str, AfterValidator(_days)]
Maintenance = Annotated[
    str, BeforeValidator(_off), AfterValidator(lambda value: value if value == OFF else _days(value))
]
Trigger = Annotated[str, AfterValidator(_trigger)]
SecretReference = Annotated[str, AfterValidator(_secret_reference)]
TableName = Annotated[str, AfterValidator(_table_name)]


class ServedEntity(Settings):
    """What a served entity id of an AI Gateway inference table stands for."""

    model_name: str
    model_version: Annotated[str, BeforeValidator(_version_as_text)]


def _name_or_entities(value: object, of_map: ValidatorFunctionWrapHandler) -> object:
    return _table_name(value) if isinstance(value, str) else of_map(value)


if TYPE_CHECKING:
    ServedEntities = dict[str, ServedEntity] | str
else:  # not a union: its mistakes would be reported twice, and with the names of Python's types
    ServedEntities = Annotated[dict[str, ServedEntity], WrapValidator(_name_or_entities)]


class Source(Settings):
    """The inference table."""

    path: str | None = None
    table: TableName | None = None
    dialect: Literal["auto", "legacy", "ai_gateway", "unity_gateway", "columns"] = "auto"
    served_entities: ServedEntities = Field(default_factory=dict)
    columns: dict[str, Annotated[str, Field(min_length=1)]] = Field(default_factory=dict)
    on_source_change: Literal["fail", "skip", "cdf"] = "fail"
    max_files_per_trigger: Annotated[int, Field(gt=0)] | None = None
    max_bytes_per_trigger: Annotated[str, Field(pattern=r"^(?i:\d+[bkmgt]?)$")] | None = None
    starting_version: Annotated[int, Field(ge=0)] | None = None
    starting_timestamp: Annotated[str, BeforeValidator(_time_as_text)] | None = None

    @model_validator(mode="after")
    def _one_place(self) -> Source:
        if (self.path is None) == (self.table is None):
            raise ValueError("needs exactly one of path (a Delta folder) and table (catalog.schema.table)")
        if self.starting_version is not None and self.starting_timestamp is not None:
            raise ValueError("takes starting_version or starting_timestamp, not both")
        return self

    @model_validator(mode="after")
    def _known_columns(self) -> Source:
        if (self.dialect == "columns") != bool(self.columns):
            raise ValueError("columns goes with dialect: columns, and dialect: columns needs it")
        if unknown := sorted(set(self.columns) - set(COMMON_COLUMNS)):
            raise ValueError(f"columns: unknown {', '.join(unknown)}; known: {', '.join(COMMON_COLUMNS)}")
        if missing := [name for name in NEEDED if self.columns and name not in self.columns]:
            raise ValueError(f"columns: needs {', '.join(missing)}")
        return self


class Output(Settings):
    """Where the monitor's tables are: folders under ``path``, or tables in ``schema``."""

    path: str | None = None
    schema_name: Annotated[TableName | None, Field(alias="schema")] = None
    prefix: Annotated[str, Field(pattern=r"^\w*$")] = ""

    @model_validator(mode="after")
    def _one_place(self) -> Output:
        if (self.path is None) == (self.schema_name is None):
            raise ValueError("needs exactly one of path (a folder) and schema (catalog.schema)")
        return self


OWN_SECTION = frozenset({"perplexity", "toxicity", "readability"})
"""Scorers with a section of their own in ``scoring``; those of all others are in ``scoring.scorers``."""


def _others() -> dict[str, type[Settings]]:
    """The sections of ``scoring.scorers``."""
    return {scorer.name: scorer.settings for scorer in scorers() if scorer.name not in OWN_SECTION}


def _of_scorers(values: object, _: ValidatorFunctionWrapHandler) -> dict[str, Settings]:
    """Sections by scorer, each as the scorer describes it; what is given is checked, and kept as it was given."""
    fields: dict[str, Any] = {name: (settings, None) for name, settings in _others().items()}
    section = create_model("Scorers", __base__=Settings, **fields).model_validate(values)
    return {name: getattr(section, name) for name in section.model_fields_set}


class Scoring(Settings):
    """The scorers and where they run."""

    perplexity: PerplexityModel = PerplexityModel()
    toxicity: ToxicityModel = ToxicityModel()
    readability: Readability = Readability()
    tokenizer: str | None = None
    device: Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")] = "auto"
    sample_rate: Annotated[float, Field(gt=0, le=1)] = 1.0
    reasoning: Literal["strip", "keep"] = "strip"
    scorers: Annotated[dict[str, SerializeAsAny[Settings]], WrapValidator(_of_scorers)] = Field(default_factory=dict)

    def of_scorer(self, scorer: Scorer) -> Settings:
        """The settings of a scorer: its own section, else that in ``scorers``, else its defaults."""
        own = getattr(self, scorer.name) if scorer.name in OWN_SECTION else self.scorers.get(scorer.name)
        return scorer.settings() if own is None else own


class SlicingExpr(Settings):
    """An expression whose values are reported beside the whole: SQL over a row of ``scores`` with its whole text.

    It is boolean, or has one of ``values``; everything else is reported under ``__other__``.
    """

    expr: Annotated[str, Field(min_length=1)]
    values: tuple[str, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, values: object) -> object:
        return {"expr": values} if isinstance(values, str) else values


class Retention(Settings):
    """How long rows are kept, in whole UTC days; None: for ever. Windows outlive the rows that they count."""

    scores: Days | None = None
    minute_metrics: Days | None = None
    metrics: Days | None = None

    @model_validator(mode="after")
    def _windows_outlive_rows(self) -> Retention:
        lengths = [self.scores, self.minute_metrics, self.metrics]
        rows, minutes, all_ = (float("inf") if one is None else duration_seconds(one) for one in lengths)
        if rows > minutes or minutes > all_:
            raise ValueError("must be scores <= minute_metrics <= metrics (what is not set is kept for ever)")
        return self

    def horizon(self, what: Literal["scores", "minute_metrics", "metrics"], today: date) -> date | None:
        """The first UTC date that is kept; None: all are."""
        length = getattr(self, what)
        return None if length is None else today - timedelta(seconds=duration_seconds(length))


def _different(value: tuple[SlicingExpr, ...]) -> tuple[SlicingExpr, ...]:
    if len({one.expr for one in value}) < len(value):
        raise ValueError("must be different ones")
    return value


class Text(Settings):
    """What text the tables may hold, and the key of its hashes."""

    store: Literal["none", "redacted", "full"] = "none"
    key: SecretReference | None = None

    def secret(self) -> bytes:
        """The HMAC key: the named variable, else TEXT_HASH_KEY, else empty (hashes anyone can test guesses on)."""
        return os.environ.get(self.key[4:] if self.key else TEXT_KEY_VARIABLE, "").encode()


class MLflow(Settings):
    """MLflow store that ``models:/`` URIs and the registry are read from, and the chatbot's name in the registry."""

    tracking_uri: str | None = None
    registered_model: Annotated[str, Field(min_length=1)] | None = None


class Serving(Settings):
    """The serving endpoint, for logs that don't name it."""

    endpoint: str | None = None


class Config(Settings):
    """All settings."""

    source: Source
    output: Output
    checkpoints: str | None = None
    trigger: Trigger = "5 minutes"
    scoring: Scoring = Scoring()
    granularities: Annotated[tuple[Granularity, ...], AfterValidator(_distinct)] = (
        "1 minute",
        "5 minutes",
        "1 hour",
        "1 day",
    )
    retention: Retention = Retention()
    maintenance: Maintenance = "1 day"
    max_models: Annotated[int, Field(gt=0)] = 1000
    slicing_exprs: Annotated[tuple[SlicingExpr, ...], AfterValidator(_different)] = ()
    text: Text = Text()
    mlflow: MLflow = MLflow()
    serving: Serving = Serving()

    @model_validator(mode="after")
    def _checkpoints_somewhere(self) -> Config:
        if self.output.path is None and self.checkpoints is None:
            raise ValueError("checkpoints: needs a folder (on Databricks a Volume) where output is a schema")
        return self

    def checkpoint(self, hop: str) -> str:
        """Checkpoint folder of a streaming hop; by default beside the tables."""
        return f"{self.checkpoints or f'{self.output.path}/_checkpoints'}/{hop}"


_PATH_KEYS = (
    ("source", "path"),
    ("output", "path"),
    ("checkpoints",),
    ("scoring", "perplexity", "model"),
    ("scoring", "toxicity", "model"),
    ("scoring", "tokenizer"),
)


def load_config(path: str | None, overrides: Sequence[str] = ()) -> Config:
    """Read a YAML file, apply ``--set a.b=c`` overrides, and check everything.

    Args:
        path: YAML file; None for the defaults alone.
        overrides: ``key=value`` strings; the key is a dotted path, the value is YAML.

    Raises:
        ConfigError: The file can't be read or settings are wrong; lists every mistake.
    """
    values = _read_yaml(Path(path)) if path else {}
    if path:
        values = _resolve_paths(values, Path(path).resolve().parent)
    return parse_config(_apply(values, overrides), where=path or "the configuration")


def parse_config(values: Mapping[str, Any], *, where: str = "the configuration") -> Config:
    """Config from plain values.

    Raises:
        ConfigError: Settings are wrong; lists every mistake with its key.
    """
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise ConfigError(where, _problems(error)) from None


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ConfigError(str(path), [f"is larger than {MAX_FILE_BYTES} bytes"])
        values = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeyLoader)  # noqa: S506 (a SafeLoader)
    except OSError as error:
        raise ConfigError(str(path), [f"can't be read: {error.strerror}"]) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), [f"is not valid YAML: {' '.join(str(error).split())}"]) from None
    if values is not None and not isinstance(values, dict):
        raise ConfigError(str(path), ["must hold a mapping of settings at the top"])
    return values or {}


class _UniqueKeyLoader(yaml.SafeLoader):
    """Safe YAML without aliases (they can blow up) and without silently overwritten duplicate keys."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.constructor.ConstructorError(None, None, "aliases are not allowed", mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} occurs twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


def _apply(values: dict[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    problems = []
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator or not key:
            problems.append(f"--set {override}: must be key=value, for example trigger='1 minute'")
            continue
        *parents, last = key.split(".")
        section = values
        for parent in parents:
            child = section.setdefault(parent, {})
            if not isinstance(child, dict):
                child = section[parent] = {}
            section = child
        try:
            section[last] = yaml.safe_load(text)
        except yaml.YAMLError:
            section[last] = text
    if problems:
        raise ConfigError("the command line", problems)
    return values


def _resolve_paths(values: dict[str, Any], base: Path) -> dict[str, Any]:
    """Make the file's relative paths absolute; model ids that are no folder beside the file stay as they are."""
    for *parents, last in _PATH_KEYS:
        section: Any = values
        for parent in parents:
            section = section.get(parent) if isinstance(section, dict) else None
        value = section.get(last) if isinstance(section, dict) else None
        if not isinstance(value, str) or re.match(r"^[a-zA-Z][\w+.-]*:/", value):
            continue
        if parents[:1] == ["scoring"] and not (value.startswith((".", "~", "/")) or (base / value).is_dir()):
            continue
        section[last] = str((base / Path(value).expanduser()).resolve())
    tracking = values.get("mlflow")
    if isinstance(tracking, dict) and str(tracking.get("tracking_uri", "")).startswith("sqlite:///"):
        file = str(tracking["tracking_uri"])[len("sqlite:///") :]
        tracking["tracking_uri"] = f"sqlite:///{(base / file).resolve()}"
    return values


def _problems(error: ValidationError) -> list[str]:
    return [_problem([str(part) for part in detail["loc"]], detail) for detail in error.errors(include_url=False)]


def _problem(keys: list[str], detail: Any) -> str:
    path = ".".join(keys)
    if detail["type"] == "extra_forbidden":
        known = _known_keys(keys[:-1])
        close = difflib.get_close_matches(keys[-1], known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"known here: {', '.join(known) or 'nothing'}"
        return f"{path}: unknown; {hint}"
    if detail["type"] == "missing":
        return f"{path}: is missing"
    message = detail["msg"].removeprefix("Value error, ")
    value = detail.get("input")
    shown = f" (got {value!r})" if isinstance(value, str | int | float | bool) and keys[:1] != ["text"] else ""
    return f"{path}: {message}{shown}" if path else message + shown


def _known_keys(section: list[str]) -> list[str]:
    model: Any = Config
    if section[:2] == ["scoring", "scorers"]:
        if len(section) == 2:
            return list(_others())
        model, section = _others()[section[2]], section[3:]
    for key in section:
        fields = {f.alias or name: f for name, f in model.model_fields.items()} if _is_settings(model) else {}
        model = fields[key].annotation if key in fields else ServedEntity
    return [f.alias or name for name, f in model.model_fields.items()] if _is_settings(model) else []


def _is_settings(model: Any) -> bool:
    return isinstance(model, type) and issubclass(model, Settings)
