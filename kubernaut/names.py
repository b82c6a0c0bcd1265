"""Names, checked before they become an argument, a path, a URL or a label."""

from __future__ import annotations

import re

from kubernaut.errors import NameInvalid

_LABEL = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?")
# Helm's own rule for release names (pkg/chartutil/validate_name.go): labels joined by dots. Foreign releases may have dots.
_HELM_NAME = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*")

NAME_LENGTH = 53
NAMESPACE_LENGTH = 63


def check_name(name: str, what: str = "name") -> str:
    """Return an application's or a new release's name: an RFC 1123 label of at most 53 characters."""
    if len(name) > NAME_LENGTH or not _LABEL.fullmatch(name):
        raise NameInvalid(f"{name!r} cannot be a {what}.")
    return name


def check_namespace(namespace: str) -> str:
    """Return a namespace's name: an RFC 1123 label of at most 63 characters."""
    if len(namespace) > NAMESPACE_LENGTH or not _LABEL.fullmatch(namespace):
        raise NameInvalid(f"{namespace!r} cannot be a namespace.")
    return namespace


def check_release_name(name: str) -> str:
    """Return the name of an existing release, which plain Helm may have made: dots are allowed."""
    if len(name) > NAME_LENGTH or not _HELM_NAME.fullmatch(name):
        raise NameInvalid(f"{name!r} cannot be a release's name.")
    return name
