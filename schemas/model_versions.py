"""``model_versions``: one row per version of a registered model, as the MLflow registry has it."""

from __future__ import annotations

from schemas import Table, columns

DELETED = "DELETED"
"""Status of a version that the registry had once and has no more."""

MODEL_VERSIONS = Table(
    name="model_versions",
    comment="Versions of the registered models: where each comes from and what it takes and gives.",
    columns=columns(
        ("model_name", "string", "Registered model"),
        ("model_version", "string", "Version of the model"),
        ("run_id", "string", "MLflow run that logged the version"),
        ("run_name", "string", "Name of the run"),
        ("experiment", "string", "Experiment of the run"),
        ("status", "string", "READY, PENDING_REGISTRATION, FAILED_REGISTRATION; DELETED once the registry lacks it"),
        ("aliases", "array<string>", "Aliases that point to the version now, sorted"),
        ("created_at", "timestamp", "When the version was registered (UTC)"),
        ("updated_at", "timestamp", "When the registry last changed the version (UTC)"),
        ("signature_inputs", "string", "Inputs that the model takes (JSON, MLflow's schema)"),
        ("signature_outputs", "string", "Outputs that the model gives (JSON, MLflow's schema)"),
        ("flavors", "array<string>", "MLflow flavors that can load the model, sorted"),
        ("artifact_uri", "string", "Where the model's files are"),
        ("python_version", "string", "Python that the model was logged with"),
        ("requirements", "array<string>", "pip requirements of the model, as logged"),
    ),
    keys=("model_name", "model_version"),
)


def version_order(version: str) -> tuple[int, int, str]:
    """Sort key of versions: numbers by value ("10" after "9"), then the others alphabetically."""
    return (0, int(version), version) if version.isdecimal() else (1, 0, version)
