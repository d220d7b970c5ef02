"""The MLflow registry, read by public APIs and two small files per version: no model is downloaded, loaded or run.

URIs of the stores go along with every call. ``models:/`` and ``runs:/`` URIs are resolved here, since MLflow would look
them up in its default store, and make one in the working folder where there is none.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import unquote, urlparse

import yaml

from jobs.command.errors import described
from jobs.command.log import LOG
from schemas.config import MLflow
from schemas.errors import RegistryError
from schemas.model_versions import version_order

PAGE_SIZE = 10_000
"""Versions per answer, MLflow's own default: where one answer holds them all, none can move between two pages."""

NOT_READABLE = {"signature_inputs": None, "signature_outputs": None, "flavors": None, "python_version": None}

_BARS = "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"


class UnknownModelError(RegistryError):
    """The registry can be read and has no such model."""


class Registry:
    """One model registry and the tracking store beside it."""

    def __init__(self, tracking_uri: str, registry_uri: str) -> None:
        from mlflow import MlflowClient

        self.uris = {"tracking_uri": tracking_uri, "registry_uri": registry_uri}
        self.client = MlflowClient(**self.uris)
        self._runs: dict[str, tuple[str | None, str | None]] = {}

    def versions(self, model: str) -> list[dict[str, Any]]:
        """The model's versions in order, each a row of ``model_versions`` (times in UTC).

        Raises:
            RegistryError: The registry can't be read, or has no such model.
        """
        from mlflow import MlflowException

        try:
            registered = self.client.get_registered_model(model)
            found = [one for one in self._search(model) if one.name == model]
        except Exception as error:
            store = without_secrets(self.uris["registry_uri"])
            if isinstance(error, MlflowException) and error.error_code == "RESOURCE_DOES_NOT_EXIST":
                message = f"{store} has no registered model {model}. Name one that it has in mlflow.registered_model."
                raise UnknownModelError(message) from None
            message = (
                f"the MLflow registry {store} can't be read ({without_secrets(described(error))}). "
                "Check mlflow.tracking_uri, the store and the credentials for it."
            )
            raise RegistryError(message) from None
        # Search results carry no aliases.
        aliases = {
            str(one.version): sorted(a for a, v in registered.aliases.items() if str(v) == str(one.version))
            for one in found
        }
        with _no_progress_bars():
            rows = {str(one.version): self._row(one, aliases[str(one.version)]) for one in found}
        return [rows[version] for version in sorted(rows, key=version_order)]

    def _search(self, model: str) -> Iterator[Any]:
        token = None
        while True:
            page = self.client.search_model_versions(name_filter(model), max_results=PAGE_SIZE, page_token=token)
            yield from page
            if not (token := page.token):
                return

    def _row(self, version: Any, aliases: list[str]) -> dict[str, Any]:
        run_name, experiment = self._run(version.run_id) if version.run_id else (None, None)
        artifact_uri = self._artifact_uri(version)
        return {
            "model_name": version.name,
            "model_version": str(version.version),
            "run_id": version.run_id or None,
            "run_name": run_name,
            "experiment": experiment,
            "status": version.status,
            "aliases": aliases,
            "created_at": _time(version.creation_timestamp),
            "updated_at": _time(version.last_updated_timestamp),
            "artifact_uri": artifact_uri,
            **self._from_artifacts(version, artifact_uri),
        }

    def _run(self, run_id: str) -> tuple[str | None, str | None]:
        """Names of a run and of its experiment; None for what was deleted or can't be read."""
        if run_id not in self._runs:
            self._runs[run_id] = (None, None)
            try:
                run = self.client.get_run(run_id).info
                experiment = self.client.get_experiment(run.experiment_id).name
                self._runs[run_id] = (None if run.lifecycle_stage == "deleted" else run.run_name, experiment)
            except Exception as error:
                LOG.warning("run %s can't be read (%s)", run_id, without_secrets(described(error)))
        return self._runs[run_id]

    def _artifact_uri(self, version: Any) -> str | None:
        try:
            uri: str | None = self.client.get_model_version_download_uri(version.name, str(version.version))
        except Exception:
            uri = None  # the source says it as well, though it may be what the version was copied from
        return uri or version.source or None

    def _from_artifacts(self, version: Any, artifact_uri: str | None) -> dict[str, Any]:
        """What the files MLmodel and requirements.txt say; None for what can't be read, with one warning."""
        found: dict[str, Any] = {**NOT_READABLE, "requirements": None}
        try:
            folder = self._folder(version, artifact_uri)
            found |= from_mlmodel(self._text(f"{folder}/MLmodel"))
            found["requirements"] = requirement_lines(self._text(f"{folder}/requirements.txt"))
        except Exception as error:
            where = f"{version.name} version {version.version}"
            LOG.warning("%s: artifacts can't be read (%s)", where, without_secrets(described(error)))
        return found

    def _folder(self, version: Any, uri: str | None) -> str:
        """URI of the folder with the model's files, as ``mlflow.artifacts`` reads it without MLflow's default store."""
        if self.uris["registry_uri"].startswith("databricks"):
            return f"models:/{version.name}/{version.version}"  # read with credentials that the registry hands out
        while uri and (parts := re.fullmatch(r"(models|runs):/([^/]+)(?:/(.+))?", uri)):
            uri = self._resolved(*parts.groups())
        if not uri:
            raise ValueError("the registry names no place")
        return uri.rstrip("/")

    def _resolved(self, scheme: str, name: str, rest: str | None) -> str:
        if scheme == "models":
            if rest is None:
                return str(self.client.get_logged_model(name).artifact_location)
            return str(self.client.get_model_version_download_uri(name, rest))
        run = self.client.get_run(name)
        outputs = run.outputs.model_outputs if run.outputs else []
        logged = [self.client.get_logged_model(one.model_id) for one in outputs]
        locations = [str(one.artifact_location) for one in logged if one.name == rest]
        return locations[-1] if locations else f"{run.info.artifact_uri}/{rest or ''}"

    def _text(self, uri: str) -> str:
        import mlflow

        with TemporaryDirectory() as folder:
            file = mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=folder, **self.uris)
            return Path(file).read_text(encoding="utf-8")


def open_registry(settings: MLflow, model: str) -> Registry:
    """The registry that holds the model.

    Raises:
        RegistryError: mlflow is not installed, the store can't be opened, or it is a local one that does not exist
            (MLflow would make an empty one).
    """
    try:
        import mlflow
    except ImportError:
        message = "mlflow is not installed. Install it (pip install mlflow, or this package's extra local)."
        raise RegistryError(message) from None
    tracking_uri = settings.tracking_uri or mlflow.get_tracking_uri()
    _check_local_store(tracking_uri)
    own = None if settings.tracking_uri else os.environ.get("MLFLOW_REGISTRY_URI")
    try:
        return Registry(tracking_uri, own or registry_uri(tracking_uri, model))
    except Exception as error:  # a file that is no database, a scheme that nothing serves
        store = without_secrets(tracking_uri)
        reason = without_secrets(described(error))
        raise RegistryError(f"{store} is no MLflow store ({reason}). Check mlflow.tracking_uri.") from None


def registry_uri(tracking_uri: str, model: str) -> str:
    """The registry beside a tracking store: Unity Catalog's for a name of three parts on Databricks, else the same."""
    scheme, colon, profile = tracking_uri.partition(":")
    if scheme == "databricks" and model.count(".") == 2:
        return f"databricks-uc{colon}{profile}"
    return tracking_uri


def name_filter(model: str) -> str:
    """The search filter for a model's name. MLflow's filters have no escapes, so a name with both quotes is a pattern.

    A pattern can find more than the name.
    """
    if "'" not in model:
        return f"name='{model}'"
    if '"' not in model:
        return f'name="{model}"'
    return "name LIKE '" + model.replace("'", "_") + "'"


def from_mlmodel(text: str) -> dict[str, Any]:
    """Signature, flavors and Python version from the text of an MLmodel file (YAML).

    Raises:
        ValueError: It is no MLmodel file.
    """
    model = yaml.safe_load(text)
    flavors = model.get("flavors") if isinstance(model, dict) else None
    if not isinstance(flavors, dict):
        raise ValueError("MLmodel lists no flavors")
    signature = model.get("signature") or {}
    return {
        "signature_inputs": signature.get("inputs"),
        "signature_outputs": signature.get("outputs"),
        "flavors": sorted(flavors),
        "python_version": (flavors.get("python_function") or {}).get("python_version"),
    }


def requirement_lines(text: str) -> list[str]:
    """The packages that a requirements.txt names; options (indexes, hashes) and comments are left out."""
    lines = (re.sub(r"(^|\s)#.*", "", line).rstrip("\\").strip() for line in text.splitlines())
    return [without_secrets(line) for line in lines if line and not line.startswith("-")]


def without_secrets(text: str) -> str:
    """The text without the user part and the query of URLs, which can hold passwords and signatures."""
    return re.sub(r"(://[^\s?]*)\?[^\s'\")]+", r"\1?…", re.sub(r"://[^/@\s]+@", "://…@", text))


def _time(milliseconds: int | None) -> datetime | None:
    return None if milliseconds is None else datetime.fromtimestamp(milliseconds / 1000, UTC)


def _check_local_store(uri: str) -> None:
    path = None
    if match := re.match(r"sqlite(?:\+\w+)?:///([^?]+)", uri):
        path = match[1]
    elif uri.startswith("file:"):
        path = unquote(urlparse(uri).path)
    elif ":" not in uri and uri not in ("databricks", "databricks-uc", "uc"):
        path = uri
    if path is None or path.startswith((":memory:", "file:")):
        return
    store = Path(path)
    if not store.exists() or (store.is_file() and store.stat().st_size == 0):
        raise RegistryError(f"there is no MLflow store {path}. Set mlflow.tracking_uri to the one that has the model.")


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    before = os.environ.get(_BARS)
    os.environ[_BARS] = "false"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_BARS]
        else:
            os.environ[_BARS] = before
