"""What all sections of the settings have in common."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Settings(BaseModel):
    """Base of all sections: unknown keys are mistakes, values never change after loading."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _empty_section(cls, values: object) -> object:
        """A section with nothing in it, which YAML reads as null, is one of defaults."""
        return {} if values is None else values


Language = Annotated[str, Field(pattern=r"^[a-z]{2,3}$")]
