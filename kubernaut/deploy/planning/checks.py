"""What is checked before a verb is planned: the name, the revision, the ETag, the record, and fields that others manage. Pure."""

from __future__ import annotations

from kubernaut.deploy.planning.revisions import MAX_KEYS, title
from kubernaut.deploy.requests import DeployRequest, OperationRequest
from kubernaut.errors import Conflict, NameInvalid, ReleaseChanged, ReleaseNotCurrent
from kubernaut.history.records import Record, few
from kubernaut.history.releases import ReleaseHealth
from kubernaut.models import check_name
from kubernaut.rollout.problems import Cause


def check_new_name(request: DeployRequest) -> None:
    """Check the name of the first release: objects are often named alike, so it has no dot. Raises: NameInvalid."""
    if "." in request.name:
        raise NameInvalid(
            f"The release {request.release} does not exist, and the name of a new one has no dot.",
            hint=f"`kubernaut list -n {request.namespace} --all` lists the releases; use dashes in a new name.",
            http_hint=f"`GET /api/releases?namespace={request.namespace}&all=true` lists the releases; use dashes in a new name.",
        )
    check_name(request.name)


def check_current(current: Record, revision: int | None) -> None:
    """Check that a named revision is the current one. Raises: ReleaseNotCurrent."""
    if revision not in (None, current.revision):
        named = f"{current.namespace}.{current.name}.v{revision}"
        raise ReleaseNotCurrent(
            f"{named} is not the current release; {current.id} is.",
            hint=f"Name the current release, {current.id}.",
            members={"current": current.id},
        )


def check_match(named: Record | None, current: Record | None, request: OperationRequest) -> None:
    """Check that the named record has the ETag of the request. Raises: ReleaseChanged."""
    if request.if_match is None or (named is not None and named.etag == request.if_match):
        return
    members = {"current": current.id, "etag": current.etag} if current else {}
    what = f"{named.id} has changed since its ETag was read" if named else f"The release {request.release} does not exist"
    now = f"; the current release is {current.id}, with the ETag {current.etag}" if current else ""
    raise ReleaseChanged(f"{what}{now}.", members=members)


def check_readable(current: Record) -> None:
    """Check that Helm can read the current record. Raises: Conflict."""
    if current.damaged:
        raise Conflict(
            f"The record of {current.id} is damaged: {current.damaged}.",
            hint=f"Helm cannot read it either. `kubectl delete secret {current.secret} -n {current.namespace}` removes the "
            "revision from the history.",
            http_hint=f"Helm cannot read it either. Deleting the Secret {current.secret} removes the revision from the history.",
        )


def check_taken(current: Record, health: ReleaseHealth | None) -> None:
    """Check that Helm can write what others have changed, which is all that is to be done. Raises: Conflict."""
    if health is None or not current.server_side:
        return
    taken = [drift for drift in health.drift if drift.field and drift.manager]
    if not taken:
        return
    managers = few(dict.fromkeys(drift.manager for drift in taken), MAX_KEYS)
    raise Conflict(
        f"{title(current)} cannot be applied again: {health.reason}. Helm does not overwrite what {managers} manages.",
        hint="To overwrite it, run the same command again with `--on-conflict take`. Else leave the field out of the chart.",
        http_hint="To overwrite it, send `onConflict: take`. Else leave the field out of the chart.",
        members={"cause": Cause.APPLY_CONFLICT},
    )
