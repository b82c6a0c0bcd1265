"""The chart repositories of ``helm repo list``: the URL of one, from Helm's ``repositories.yaml``."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from kubernaut.errors import KubernautError
from kubernaut.yaml_reader import parse_yaml

_LARGEST = 1 << 20


def repository_url(name: str, environment: Mapping[str, str] = os.environ) -> str | None:
    """Return the URL of a repository that ``helm repo add`` has named; ``None`` if it is unknown or the file cannot be read."""
    try:
        with _file(environment).open("rb") as file:
            content = parse_yaml(file.read(_LARGEST), "repositories.yaml")
    except (OSError, RuntimeError, KubernautError):
        return None
    repositories = content.get("repositories")
    for one in repositories if isinstance(repositories, list) else ():
        if isinstance(one, dict) and one.get("name") == name and isinstance(one.get("url"), str):
            return str(one["url"]).rstrip("/")
    return None


def _file(environment: Mapping[str, str]) -> Path:
    """Return the path of the file, as Helm finds it."""
    if named := environment.get("HELM_REPOSITORY_CONFIG"):
        return Path(named)
    if folder := environment.get("HELM_CONFIG_HOME"):
        return Path(folder, "repositories.yaml")
    if folder := environment.get("XDG_CONFIG_HOME"):
        return Path(folder, "helm", "repositories.yaml")
    usual = ("Library", "Preferences") if sys.platform == "darwin" else (".config",)
    return Path.home().joinpath(*usual, "helm", "repositories.yaml")
