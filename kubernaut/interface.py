"""What the verbs are given and what they return, whoever carries them out: this process, or a server for its client."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from kubernaut.models import Plan

if TYPE_CHECKING:
    from kubernaut.history.operations import Operation
    from kubernaut.history.releases import Release
    from kubernaut.publish.pipeline import BuiltImage
    from kubernaut.publish.registry import PublishedVersion


@dataclass(frozen=True)
class Built:
    """What ``build`` did: the image (``None`` on a dry run), the plan, whether anything changed."""

    plan: Plan
    changed: bool
    image: BuiltImage | None


@dataclass(frozen=True)
class Published:
    """What ``publish`` did: the version (``None`` on a dry run of a new one), the plan, whether anything changed."""

    plan: Plan
    changed: bool
    version: PublishedVersion | None


@dataclass(frozen=True)
class Deployed:
    """What a verb did to a release: the release afterwards (on a dry run: as it is), the plan, whether anything changed."""

    plan: Plan
    changed: bool
    release: Release | None


class Options(TypedDict, total=False):
    """How the verbs that change a release go about it.

    Attributes:
        note: A line for the history.
        timeout: Seconds that it may take; the setting's by default.
        lock_timeout: Seconds to wait while somebody else is at work on the release; 0 refuses at once; the setting's by default.
        dry_run: Only say what would be done.
        if_match: The ETag of the release that is named (of the current one, for a deploy): refused when it is another by now.
        operation: An operation that was accepted before (:meth:`Kubernaut.accept`), to be carried out now.
    """

    note: str | None
    timeout: float | None
    lock_timeout: float | None
    dry_run: bool
    if_match: str | None
    operation: Operation | None


class DeployOptions(Options, total=False):
    """How :meth:`Kubernaut.deploy` and :meth:`Kubernaut.ship` go about it.

    Attributes:
        values: Files of YAML, or mappings; later ones win.
        set: ``KEY=VALUE`` in Helm's syntax; wins over ``values``.
        environment: Whose packaged values are used; the one called like the namespace by default, if there is one.
        create_namespace: Make the namespace when it does not exist.
        on_failure: ``rollback`` or ``keep``; as ``kubernaut.yaml`` says by default.
        reuse_values: Keep the current release's values under those given here.
    """

    values: Sequence[str | Path | Mapping[str, Any]]
    set: Sequence[str]
    environment: str | None
    create_namespace: bool
    on_failure: Literal["rollback", "keep"] | None
    reuse_values: bool
