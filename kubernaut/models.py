"""The base of every type with a JSON form, and the plan of a verb.

Models are immutable and strict; their fields are camelCase in JSON and snake_case in Python.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


class Model(BaseModel):
    """A value; ``model_dump(mode="json", by_alias=True)`` is its JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)


class Action(Model):
    """One step of a plan.

    Attributes:
        kind: What is done: ``build-image``, ``push-image``, ``push-chart``, ``helm-upgrade``, ….
        subject: What it is done to.
        reason: Why, as a clause.
        objects: The objects that it removes, as ``KIND/NAME``; left out of the JSON when empty, and never stored.
    """

    kind: str
    subject: str
    reason: str
    objects: tuple[str, ...] = Field(default=(), exclude_if=lambda objects: not objects)


class Plan(Model):
    """The steps of a verb, in order; without any, ``reason`` says why nothing is to be done."""

    actions: tuple[Action, ...] = ()
    reason: str = ""

    @property
    def changes(self) -> bool:
        """Whether the plan has steps."""
        return bool(self.actions)

    @property
    def summary(self) -> str:
        """The actions on one line, without their reasons."""
        return ", ".join(f"{action.kind} {action.subject}" for action in self.actions)
