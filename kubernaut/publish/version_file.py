"""What a publishing build hands to the one that deploys: a published version as a file of JSON, such as ``release.json``.

``kubernaut publish --to FILE`` writes it, and whoever has it deploys that very version: the chart's digest stands in it.
"""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from kubernaut.errors import BadInput, NameInvalid
from kubernaut.names import check_name
from kubernaut.publish.registry import PublishedVersion
from kubernaut.publish.version import parse

LARGEST = 1 << 20

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_HINT = "Name the file that `kubernaut publish --to FILE` wrote."


def read_handover(path: Path) -> PublishedVersion:
    """Return the published version that a file holds; what a newer kubernaut tells of it besides is passed over.

    Raises:
        BadInput: The file cannot be read, or holds something else.
    """
    content = _content(path)
    try:
        version = _version(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(step) for step in first["loc"])
        raise _refusal(path, f"{_what(content)} ({place}: {first['msg']})") from error
    try:
        check_name(version.name)
    except NameInvalid as error:
        raise _refusal(path, f"a version of {version.name!r}, which is no application's name") from error
    if parse(version.version) is None:
        raise _refusal(path, f"a version {version.version!r}, which is no SemVer")
    if not _DIGEST.fullmatch(version.chart.digest):
        raise _refusal(path, f"a version whose chart has the digest {version.chart.digest!r}, which is none")
    return version


def _content(path: Path) -> dict[str, Any]:
    if path.exists() and not path.is_file():  # a pipe would be waited for, a device may be endless
        raise BadInput(f"{path} is no file.", hint=_HINT)
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}.", hint=_HINT) from error
    if len(data) > LARGEST:
        raise _refusal(path, f"more than {LARGEST >> 20} MiB")
    try:
        content = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise _refusal(path, "what is no JSON" if data.strip() else "nothing") from error
    if not isinstance(content, dict):
        raise _refusal(path, "JSON that is no version")
    return content


def _version(content: dict[str, Any]) -> PublishedVersion:
    """Read a version. Raises: ValidationError."""
    try:
        return PublishedVersion.model_validate(content)
    except ValidationError as error:
        unknown = [found["loc"] for found in error.errors() if found["type"] == "extra_forbidden"]
    known = copy.deepcopy(content)
    for where in unknown:
        inside: Any = known
        for step in where[:-1]:
            inside = inside[step]
        del inside[where[-1]]
    return PublishedVersion.model_validate(known)


def _what(content: dict[str, Any]) -> str:
    """Say what it is instead, where that can be seen."""
    if {"namespace", "revision", "status"} <= content.keys():
        return f"the release {str(content.get('id'))[:200]!r}, and no version"
    if {"code", "status"} <= content.keys():
        return f"the problem {str(content['code'])[:200]!r}, and no version"
    if "actions" in content:
        return "the plan of a dry run, and no version"
    if "items" in content:
        return "a list, and no version"
    return "JSON that is no version"


def _refusal(path: Path, holds: str) -> BadInput:
    return BadInput(f"{path} holds {holds}.", hint=_HINT)
