"""The JSON of the write requests, and the release that a rollback or a restore names. Pure, but for reading files of values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic.alias_generators import to_camel

from kubernaut.deploy.values import merge, read_values
from kubernaut.history.records import GONE, PENDING, Status
from kubernaut.history.releases import Release, ReleaseId
from kubernaut.interface import DeployOptions, OperationOptions, ReleaseOptions, ShipOptions, check_options

_OPERATION = ("note", "timeout", "lock_timeout")
_DEPLOY = (*_OPERATION, "version", "pre", "chart", "digest", "environment", "create_namespace", "on_failure", "reuse_values")


def release_fields(options: ReleaseOptions) -> dict[str, Any]:
    """Return the options of a rollback, restore or delete as the server takes them. Raises: TypeError."""
    return _fields(options, ReleaseOptions, _OPERATION)


def deploy_body(release: ReleaseId, options: DeployOptions | ShipOptions) -> dict[str, Any]:
    """Return the body of a deploy; files of values are read, and their layers merged.

    Raises:
        TypeError: The server does not take an option.
        ValuesInvalid: A file or a ``--set`` is invalid.
    """
    fields = _fields(options, DeployOptions, _DEPLOY)
    requested = read_values(None, options.get("values", ()), options.get("set", ()), reuse=options.get("reuse_values", False))
    values: dict[str, Any] = {}
    for layer in requested.layers:
        values = merge(values, layer)
    if values:
        fields["values"] = values
    if requested.sets:
        fields["set"] = list(requested.sets)
    return {"name": release.name, "namespace": release.namespace, **fields}


def last_deleted(releases: Sequence[Release]) -> Release | None:
    """Return the release that was deleted last, if nothing has run since: unfinished and failed restores do not count.

    Args:
        releases: All releases of the name, newest first.
    """
    for release in releases:
        if release.status in GONE:
            return release
        if release.status not in (*PENDING, Status.FAILED):
            return None
    return None


def last_run(releases: Sequence[Release]) -> Release | None:
    """Return the newest release before the current one that once ran.

    Args:
        releases: All releases of the name, newest first.
    """
    return next((release for release in releases[1:] if release.status in (Status.DEPLOYED, Status.SUPERSEDED)), None)


def _fields(options: OperationOptions, known: type, names: Sequence[str]) -> dict[str, Any]:
    check_options(options, known)
    if "operation" in options:
        raise TypeError("unexpected keyword argument 'operation'; a server accepts its operations itself")
    given: Mapping[str, Any] = {**options}
    fields = {to_camel(name): given.get(name) for name in names}
    return {name: value for name, value in fields.items() if value is not None and value is not False}
