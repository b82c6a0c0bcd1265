"""The base of every type that leaves kubernaut as JSON: immutable, strict, camelCase outside and snake_case inside.

And the one such type that several rooms share: the plan, what a verb is going to do and why.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class Model(BaseModel):
    """A value; ``model_dump(mode="json", by_alias=True)`` is its JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)


class Action(Model):
    """One thing that a verb is going to do.

    Attributes:
        kind: What, in the tool's own words: ``build-image``, ``push-image``, ``push-chart``, ``helm-upgrade``, ….
        subject: To what.
        reason: Why, as a clause for a person.
    """

    kind: str
    subject: str
    reason: str


class Plan(Model):
    """What a verb is going to do, in order; nothing when ``actions`` is empty, and ``reason`` says why."""

    actions: tuple[Action, ...] = ()
    reason: str = ""

    @property
    def changes(self) -> bool:
        """Whether carrying it out would change anything."""
        return bool(self.actions)
