"""The base of every type with a JSON form, the plan of a verb, and the rules for names.

Models are immutable and strict; their fields are camelCase in JSON and snake_case in Python. A name is checked before it becomes an
argument, a path, a URL or a label.
"""

from __future__ import annotations

import re

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from kubernaut.errors import NameInvalid

_LABEL = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?")
# Helm's own rule for release names (pkg/chartutil/validate_name.go): labels joined by dots. Foreign releases may have dots.
_HELM_NAME = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*")

_DEFINITION = "CustomResourceDefinition/"

NAME_LENGTH = 53
NAMESPACE_LENGTH = 63


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

    @property
    def removed_definitions(self) -> tuple[str, ...]:
        """The CustomResourceDefinitions among the objects: their custom resources go with them, in all namespaces."""
        return tuple(one.removeprefix(_DEFINITION).partition(" ")[0] for one in self.objects if one.startswith(_DEFINITION))


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


def check_name(name: str) -> str:
    """Return the name of an application or a new release: an RFC 1123 label, at most 53 characters. Raises: NameInvalid."""
    if len(name) > NAME_LENGTH or not _LABEL.fullmatch(name):
        raise NameInvalid(f"{name!r} cannot be a name.")
    return name


def check_namespace(namespace: str) -> str:
    """Return the name of a namespace: an RFC 1123 label, at most 63 characters. Raises: NameInvalid."""
    if len(namespace) > NAMESPACE_LENGTH or not _LABEL.fullmatch(namespace):
        raise NameInvalid(f"{namespace!r} cannot be a namespace.")
    return namespace


def check_release_name(name: str) -> str:
    """Return the name of an existing release; dots are allowed, as plain Helm allows them. Raises: NameInvalid."""
    if len(name) > NAME_LENGTH or not _HELM_NAME.fullmatch(name):
        raise NameInvalid(f"{name!r} cannot be a release's name.")
    return name
