"""The CI build that asked for an operation, in a place of its own in the operation's Secret. Pure.

An older kubernaut knows a build's page alone and takes what has unknown fields for half read: so the rest stands beside it.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from typing import Any

from kubernaut.ci import CiBuild, build_of
from kubernaut.history.packing import pack, unpack

PAGE_ALONE = "buildUrl"
"""The operation's own field, which older kubernauts read."""
_KEY = "build"


def page_of(build: CiBuild | None) -> dict[str, str]:
    """Return what an older kubernaut reads of a build in the operation itself."""
    return {PAGE_ALONE: build.url} if build and build.url else {}


def build_data(build: CiBuild | None) -> dict[str, str]:
    """Return the Secret's ``data.build``."""
    if build is None:
        return {}
    return {_KEY: base64.b64encode(pack(build.model_dump(mode="json", by_alias=True, exclude_none=True))).decode("ascii")}


def told_build(secret: Mapping[str, Any]) -> CiBuild | None:
    """Return the build that a Secret tells of; what is not as it should be is left out."""
    try:
        content = unpack(str((secret.get("data") or {}).get(_KEY) or ""))
    except (ValueError, zlib.error, RecursionError):
        return None
    known = {
        name: content[name] for name in CiBuild.model_fields if isinstance(content.get(name), int if name == "number" else str)
    }
    return build_of(**known)


def with_page_alone(content: Any) -> Any:
    """Return an operation's content with the build where an older kubernaut has told its page alone."""
    if not isinstance(content, dict) or not isinstance(content.get(PAGE_ALONE), str):
        return content
    build = content.get("build") or build_of(url=content[PAGE_ALONE])
    return {**{key: value for key, value in content.items() if key != PAGE_ALONE}, "build": build}
