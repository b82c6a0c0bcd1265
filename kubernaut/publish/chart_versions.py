"""Versions of charts: how tags write them, which is the newest, and what to write where one does not exist. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Collection, Iterable
from typing import NotRequired, TypedDict

from semver import Version as SemVer

from kubernaut.errors import VersionNotFound

_SHOWN_VERSIONS = 5
_LOOSE = re.compile(r"v?([0-9]+)(?:\.([0-9]+))?(?:\.([0-9]+))?([-+].*)?")
_NUMBERS = re.compile(r"(?!sha256:)\D{0,3}([0-9]{1,9}(?:\.[0-9]{1,9}){0,2})")


def version_tag(version: str) -> str:
    """Return the OCI tag of a version: ``_`` for the ``+`` of build metadata, which a tag cannot contain."""
    return version.replace("+", "_")


def tag_version(tag: str) -> str:
    """Return the version of an OCI tag, as Helm reads it: ``+`` for ``_``."""
    return tag.replace("_", "+")


def parse_loose(version: str) -> SemVer | None:
    """Return a chart's version for comparison: SemVer, also with a ``v`` before it or without its last parts; else ``None``."""
    match = _LOOSE.fullmatch(version) if version.isascii() else None
    try:
        return None if match is None else SemVer.parse(f"{match[1]}.{match[2] or 0}.{match[3] or 0}{match[4] or ''}")
    except ValueError:
        return None


def newest_stable(versions: Iterable[str], *, strict: bool = False) -> str | None:
    """Return the newest version that is not a pre-release; ``None`` without one. Texts that are not versions are ignored.

    Args:
        versions: The versions.
        strict: Whether a version must be SemVer to the letter, as Helm reads the tags of a registry.
    """
    known = [(parsed, version) for version in versions if (parsed := parse_loose(version)) is not None and not parsed.prerelease]
    found = [(parsed, version) for parsed, version in known if not strict or str(parsed) == version]
    return max(found)[1] if found else None


def newest_first(versions: Collection[str]) -> list[str]:
    """Return versions in the order of SemVer, the newest first; texts that are not versions come last."""
    known = [(parsed, version) for version in versions if (parsed := parse_loose(version)) is not None]
    return [version for _, version in sorted(known, reverse=True)] + sorted(one for one in versions if parse_loose(one) is None)


# errors


class Hints(TypedDict):
    """The hints of an error, for the command line and for HTTP, and the members that it has there."""

    hint: str
    http_hint: str
    members: NotRequired[dict[str, str]]


def use_chart(reference: str, *, before: str = "", after: str = "") -> Hints:
    """Return the hints to name another chart.

    The command line makes a command to paste of the first one: its own, with this ``--chart``.

    Args:
        reference: The reference to use.
        before: A sentence before it, for the command line only.
        after: A sentence after it, for the command line only.
    """
    again = f"Run the same command again with `--chart {shlex.quote(reference)}`."
    hint = " ".join(filter(None, (before, again, after)))
    return {"hint": hint, "http_hint": f"Send `chart` as {reference}.", "members": {"suggestedChart": reference}}


def version_not_found(
    where: str, name: str, asked: str | None, versions: Iterable[str], reference: Callable[[str], str]
) -> VersionNotFound:
    """Return the error about a chart that exists, but not in a version.

    Args:
        where: The repository that was read.
        name: The chart.
        asked: The version or digest that was named; ``None`` for the newest stable one.
        versions: The versions that exist.
        reference: Returns the reference of a version.
    """
    known = newest_first(set(versions))
    shown = [version for version in known if parse_loose(version)][:_SHOWN_VERSIONS] or known[:_SHOWN_VERSIONS]
    named = "stable version" if asked is None else f"{'digest' if asked.startswith('sha256:') else 'version'} {asked}"
    what = f"{where} has no {named} of {name}"
    if not shown:
        return VersionNotFound(f"{what}, nor any other.", hint="Check the name of the chart, and that it was pushed.")
    listed = ", ".join(shown)
    those = f"the newest of its {len(known)} are {listed}" if len(known) > len(shown) else f"it has {listed}"
    return VersionNotFound(f"{what}; {those}.", **use_chart(reference(_nearest(asked or "", known) or shown[0])))


def _nearest(asked: str, versions: list[str]) -> str | None:
    """Return the newest version with the numbers of the one that was named, as in ``1.2``, else the newest stable one."""
    numbers = _NUMBERS.match(asked)
    found = [version for version in versions if numbers and _begins_with(version, numbers[1])]
    return newest_stable(found) or (found[0] if found else newest_stable(versions))


def _begins_with(version: str, numbers: str) -> bool:
    parsed = parse_loose(version)
    return parsed is not None and f"{parsed.major}.{parsed.minor}.{parsed.patch}.".startswith(f"{numbers}.")
