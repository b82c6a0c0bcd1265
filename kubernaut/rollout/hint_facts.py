"""The facts of an explanation, as hints name them. Pure.

A name goes into a command only if it is a valid one: names in explanations come from manifests and from the cluster's messages.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_NAME = re.compile(r"[a-z0-9](?:[-a-z0-9.]*[a-z0-9])?")
KIND = re.compile(r"[A-Za-z][A-Za-z0-9]*")
LONGEST_NAME = 253
Pair = tuple[str, str]
"""A hint for the command line, and the same for a program that uses the REST API."""


@dataclass(frozen=True)
class Facts:
    """The facts of an explanation; a name that is not valid is missing."""

    facts: Mapping[str, str]
    namespace: str
    name: str

    def get(self, fact: str) -> str:
        """A fact; empty if it is not known."""
        return self.facts.get(fact, "")

    def object_name(self, fact: str) -> str:
        """The name in a fact; empty if it is not valid."""
        value = self.get(fact)
        return value if len(value) <= LONGEST_NAME and _NAME.fullmatch(value) else ""

    @property
    def where(self) -> str:
        """The namespace of the object as an option."""
        return f"-n {self.object_name('namespace') or self.namespace}"

    @property
    def object(self) -> str:
        """``deployment/web``; empty if it is not known."""
        kind, name = self.get("kind"), self.object_name("name")
        return f"{kind.lower()}/{name}" if name and KIND.fullmatch(kind) else ""

    @property
    def explain(self) -> str:
        """The command that shows the evidence."""
        return f"`kubernaut explain {self.name} -n {self.namespace}`"

    @property
    def explanation(self) -> str:
        """The request that shows the evidence."""
        return f"`GET /api/releases/{self.namespace}.{self.name}.current/explanation`"

    def describe(self, kind: str = "", name: str = "") -> str:
        """A command that shows an object with its events."""
        about = f"{kind.lower()}/{name}" if kind and name else self.object
        return f"`kubectl describe {about} {self.where}`" if about else self.explain


def same(text: str) -> Pair:
    """Return a hint that fits both."""
    return text, text
