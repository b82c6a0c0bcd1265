"""The requests for operations on a release, as data: one class for each verb that writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, ClassVar, Literal

from kubernaut.deploy.values.layers import Values
from kubernaut.history.store import ReleaseHistory

OnConflict = Literal["fail", "take"]
"""What to do with a field that another field manager has written: ``fail``, or ``take`` it over."""


@dataclass(frozen=True)
class OperationRequest:
    """What the requests of all verbs have in common.

    Attributes:
        verb: The verb's name, as in ``kubernaut VERB``.
        force: Whether to take the lock over from a live holder and to treat every unfinished record as abandoned.
        note: A line for the history.
        timeout: Seconds that the operation may take once it has the lock.
        lock_timeout: Seconds to wait for the lock; 0 refuses at once.
        stale_after: Age in seconds from which an unfinished record of plain Helm counts as abandoned.
        history_max: How many records of a release Helm keeps.
        if_match: The ETag that the named record must have; for a deploy, that of the current one.
        no_hooks: Whether Helm leaves out every hook, also those of an unfinished uninstall that comes first.
    """

    verb: ClassVar[str]
    force: ClassVar[bool] = False

    namespace: str
    name: str
    _: KW_ONLY
    note: str | None = None
    timeout: float = 300.0
    lock_timeout: float = 0.0
    stale_after: float = 900.0
    history_max: int = 50
    if_match: str | None = None
    no_hooks: bool = False

    @property
    def takes_conflicts(self) -> bool:
        """Whether Helm is to overwrite fields that others have written."""
        return True

    @property
    def release(self) -> str:
        """The release without a revision, as ``NAMESPACE.NAME``."""
        return f"{self.namespace}.{self.name}"

    @property
    def subject(self) -> str:
        """The subject of the operation's step, for a person."""
        return self.release


@dataclass(frozen=True)
class DeployRequest(OperationRequest):
    """Deploy a version to a namespace.

    Attributes:
        version: The version of the chart.
        chart_ref: The chart by digest, ``oci://REGISTRY/NAME@sha256:…``; for a package, where it came from.
        chart_digest: The digest of the chart.
        chart_name: The chart's own name, which is the application's, where it is not the release's name too.
        package: The chart itself, the bytes of its ``.tgz``, where it is not in an OCI registry or at hand already.
        values: The requested values, in layers.
        environment: The environment whose values are among them.
        commit: The commit that the version was built from.
        repository: The repository that it was built from.
        on_failure: ``rollback`` or ``keep``; ``None`` for the chart's own choice, which is ``rollback`` unless it has one.
        create_namespace: Whether to create the namespace if it does not exist.
        skip_crds: Whether Helm leaves the chart's ``crds/`` out of an install.
        chart_bytes: The size of the chart's archive; 0 if it is not known.
        on_conflict: Whether to ``take`` fields of objects that others have written since, or to ``fail``; ``None`` for ``fail``,
            unless ownership is taken.
        take_ownership: Whether to adopt objects that exist and are not the release's.
        always: Whether to apply the release even if nothing would change.
    """

    verb: ClassVar[str] = "deploy"

    version: str
    chart_ref: str
    chart_digest: str
    values: Values = field(default_factory=Values)
    environment: str | None = None
    commit: str | None = None
    repository: str | None = None
    on_failure: Literal["rollback", "keep"] | None = None
    create_namespace: bool = False
    chart_name: str | None = None
    package: bytes | None = field(default=None, repr=False)
    skip_crds: bool = False
    chart_bytes: int = 0
    on_conflict: OnConflict | None = None
    take_ownership: bool = False
    always: bool = False

    @property
    def takes_conflicts(self) -> bool:
        """Whether Helm is to overwrite fields that others have written."""
        return self.on_conflict == "take" or (self.on_conflict is None and self.take_ownership)

    @property
    def subject(self) -> str:
        """The version and the namespace, and the release's name where it differs from the chart's, for a person."""
        as_name = "" if self.chart_name in (None, self.name) else f" as {self.name}"
        return f"{self.chart_name or self.name} {self.version} to {self.namespace}{as_name}"

    def merged_values(self, history: ReleaseHistory) -> Mapping[str, Any]:
        """Return the values with all layers merged. Raises: ValuesInvalid."""
        return self.values.merged(history.current.config if history.current else None)


@dataclass(frozen=True)
class RevisionRequest(OperationRequest):
    """A request that may name a ``revision``, which must be the current one, except for a rollback."""

    revision: int | None = None


@dataclass(frozen=True)
class _WayBackRequest(RevisionRequest):
    on_conflict: OnConflict = "take"
    take_ownership: bool = False

    @property
    def takes_conflicts(self) -> bool:
        """Whether Helm is to overwrite fields that others have written."""
        return self.on_conflict == "take"


class RollbackRequest(_WayBackRequest):
    """Roll back to the revision; by default to the newest one before the current one that ran."""

    verb: ClassVar[str] = "rollback"


class RestoreRequest(_WayBackRequest):
    """Restore the current release after a soft delete."""

    verb: ClassVar[str] = "restore"


class UninstallRequest(RevisionRequest):
    """Uninstall the current release and keep its history."""

    verb: ClassVar[str] = "delete"


class UnlockRequest(RevisionRequest):
    """Take the lock from a holder that is known to be dead, and finish what it left."""

    verb: ClassVar[str] = "unlock"
    force: ClassVar[bool] = True


class RecoveryRequest(UnlockRequest):
    """Finish what is left unfinished where it is certain that nothing works on it any more."""

    verb: ClassVar[str] = "recover"
    force: ClassVar[bool] = False
