"""What is asked of the server, as its JSON; and which release is meant. Pure but for reading the files of values that are named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic.alias_generators import to_camel

from kubernaut.deploy.values import merge, read_wish
from kubernaut.history.records import GONE, PENDING, Status
from kubernaut.history.releases import Release, ReleaseId
from kubernaut.interface import DeployOptions, Options

_HOW = ("note", "timeout", "lock_timeout")
_DEPLOY = (*_HOW, "environment", "create_namespace", "on_failure", "reuse_values")
_SENT_OTHERWISE = ("dry_run", "if_match")


def how(options: Options) -> dict[str, Any]:
    """Return how a rollback or a delete shall go about it. Raises: TypeError, as Python does for arguments that nobody knows."""
    return _fields(options, _HOW)


def deploy_body(
    wanted: ReleaseId, *, version: str | None, pre: bool, chart: str | None, digest: str | None = None, options: DeployOptions
) -> dict[str, Any]:
    """Return the request for a deploy; files of values are read, and their layers merged.

    Raises:
        ValuesInvalid: A file or a ``--set`` cannot be read.
    """
    wish = read_wish(None, options.get("values", ()), options.get("set", ()), reuse=options.get("reuse_values", False))
    values: dict[str, Any] = {}
    for layer in wish.layers:
        values = merge(values, layer)
    body = {
        "name": wanted.name,
        "namespace": wanted.namespace,
        "version": version,
        "chart": chart,
        "digest": digest,
        "pre": pre or None,
        "values": values or None,
        "set": list(wish.sets) or None,
        **_fields(options, _DEPLOY, ("values", "set")),
    }
    return {key: value for key, value in body.items() if value is not None}


def last_deleted(releases: Sequence[Release]) -> Release | None:
    """Return the release that was deleted last, if nothing has run since: restores that failed or broke off do not count.

    Args:
        releases: All of a name, newest first.
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
        releases: All of a name, newest first.
    """
    return next((release for release in releases[1:] if release.status in (Status.DEPLOYED, Status.SUPERSEDED)), None)


def _fields(options: Mapping[str, Any], names: Sequence[str], beside: Sequence[str] = ()) -> dict[str, Any]:
    for name in options:
        if name not in (*names, *beside, *_SENT_OTHERWISE):
            raise TypeError(
                f"unexpected keyword argument {name!r}; a server takes {', '.join((*names, *beside, *_SENT_OTHERWISE))}"
            )
    given = {to_camel(name): options.get(name) for name in names}
    return {name: value for name, value in given.items() if value is not None and value is not False}
