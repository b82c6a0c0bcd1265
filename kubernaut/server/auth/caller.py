"""Who sends a request, and what he may do. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from kubernaut.errors import NotAllowed


class Role(StrEnum):
    """What a token is good for; who may deploy may read."""

    READ = "read"
    DEPLOY = "deploy"


@dataclass(frozen=True)
class Caller:
    """Who sends a request.

    Attributes:
        name: The token's name; the history shows it as ``createdBy``.
        role: What the token is good for.
        namespaces: The namespaces that it is good for; ``None`` for all.
    """

    name: str
    role: Role
    namespaces: frozenset[str] | None = None

    def sees(self, namespace: str) -> bool:
        """Say whether a namespace is among those that the token is good for."""
        return self.namespaces is None or namespace in self.namespaces

    def require(self, role: Role, namespace: str | None = None) -> None:
        """Check a right, everywhere or in a namespace. Raises: NotAllowed."""
        if role is Role.DEPLOY and self.role is not Role.DEPLOY:
            raise NotAllowed(f"The token {self.name} may read, and not deploy.")
        if namespace is not None and not self.sees(namespace):
            raise NotAllowed(f"The token {self.name} is not good for the namespace {namespace}.")
