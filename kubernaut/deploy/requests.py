"""What is asked for, as data: the verbs that write, each with what it needs to know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, ClassVar, Literal

from kubernaut.deploy.values import Wish
from kubernaut.history.store import ReleaseHistory


@dataclass(frozen=True)
class OperationRequest:
    """What all verbs have in common.

    Attributes:
        note: A person's words on it.
        timeout: Seconds that the whole of it may take, once it is its turn.
        lock_timeout: Seconds to wait for its turn; 0 refuses at once.
        stale_after: Seconds after which an unfinished record of plain Helm is taken for one that nobody works on any more.
        history_max: How many records of a name Helm keeps.
        if_match: The ETag that the record which is named must have; of a deploy, the current one.
    """

    verb: ClassVar[str]
    force: ClassVar[bool] = False
    """Whether nobody is waited for, and whoever is at work is taken for dead."""

    namespace: str
    name: str
    _: KW_ONLY
    note: str | None = None
    timeout: float = 300.0
    lock_timeout: float = 0.0
    stale_after: float = 900.0
    history_max: int = 50
    if_match: str | None = None

    @property
    def release(self) -> str:
        """The release, without its revision: ``NAMESPACE.NAME``."""
        return f"{self.namespace}.{self.name}"

    @property
    def subject(self) -> str:
        """What is worked on, for a person."""
        return self.release


@dataclass(frozen=True)
class DeployRequest(OperationRequest):
    """A version shall run in a namespace.

    Attributes:
        version: The version of the chart.
        chart_ref: The chart, by digest: ``oci://REGISTRY/NAME@sha256:…``.
        chart_digest: That digest.
        environment: The environment whose values :attr:`wish` has.
        commit: The commit that the version was made of.
        repository: The repository that it was made of.
        on_failure: ``None`` leaves it to what the version was published with, and that to ``rollback``.
    """

    verb: ClassVar[str] = "deploy"

    version: str
    chart_ref: str
    chart_digest: str
    wish: Wish = field(default_factory=Wish)
    environment: str | None = None
    commit: str | None = None
    repository: str | None = None
    on_failure: Literal["rollback", "keep"] | None = None
    create_namespace: bool = False

    @property
    def subject(self) -> str:
        """What is deployed to where, for a person."""
        return f"{self.name} {self.version} to {self.namespace}"

    def values(self, past: ReleaseHistory) -> Mapping[str, Any]:
        """Return the values, all layers merged."""
        return self.wish.values(past.current.config if past.current else None)


@dataclass(frozen=True)
class RollbackRequest(OperationRequest):
    """What an older release was shall run again; by default the newest before the current one that ran."""

    verb: ClassVar[str] = "rollback"

    revision: int | None = None


@dataclass(frozen=True)
class RestoreRequest(OperationRequest):
    """The current release shall come back after a soft delete; ``revision`` is the one that is meant to be current."""

    verb: ClassVar[str] = "restore"

    revision: int | None = None


@dataclass(frozen=True)
class UninstallRequest(OperationRequest):
    """The current release shall go, and its history stay; ``revision`` is the one that is meant to be current."""

    verb: ClassVar[str] = "delete"

    revision: int | None = None


@dataclass(frozen=True)
class UnlockRequest(OperationRequest):
    """Whoever holds the release is known to be dead: what was left unfinished shall be ended.

    ``revision`` is the one that is meant to be current.
    """

    verb: ClassVar[str] = "unlock"
    force: ClassVar[bool] = True

    revision: int | None = None


@dataclass(frozen=True)
class RecoveryRequest(UnlockRequest):
    """What was left unfinished shall be ended where it is known that nobody works on it any more."""

    verb: ClassVar[str] = "recover"
    force: ClassVar[bool] = False
