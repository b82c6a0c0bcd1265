"""Validation of names before they become an argument, a path, a URL or a label."""

from __future__ import annotations

import re

from kubernaut.errors import NameInvalid

_LABEL = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?")
# Helm's own rule for release names (pkg/chartutil/validate_name.go): labels joined by dots. Foreign releases may have dots.
_HELM_NAME = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*")

NAME_LENGTH = 53
NAMESPACE_LENGTH = 63


def check_name(name: str, what: str = "name") -> str:
    """Return the name of an application or a new release: an RFC 1123 label, at most 53 characters. Raises: NameInvalid."""
    if len(name) > NAME_LENGTH or not _LABEL.fullmatch(name):
        raise NameInvalid(f"{name!r} cannot be a {what}.")
    return name


def check_namespace(namespace: str) -> str:
    """Return the name of a namespace: an RFC 1123 label, at most 63 characters. Raises: NameInvalid."""
    if len(namespace) > NAMESPACE_LENGTH or not _LABEL.fullmatch(namespace):
        raise NameInvalid(f"{namespace!r} cannot be a namespace.")
    return namespace


def check_release_name(name: str) -> str:
    """Return the name of an existing release; dots are allowed, as plain Helm allows them. Raises: NameInvalid."""
    if len(name) > NAME_LENGTH or not _HELM_NAME.fullmatch(name):
        raise NameInvalid(f"{name!r} cannot be a release's name.")
    return name
