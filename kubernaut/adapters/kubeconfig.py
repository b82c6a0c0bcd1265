"""The kubeconfig: several files merged as kubectl merges them, and exec plugins of client.authentication.k8s.io/v1.

lightkube reads one file, and does not know v1.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import yaml

from kubernaut.errors import ClusterUnreachable

_SECTIONS = ("clusters", "contexts", "users")
_PATHS = ("certificate-authority", "client-certificate", "client-key", "tokenFile")
_EXEC_V1 = "client.authentication.k8s.io/v1"
_HINT = "Check the `kubeconfig` and `context` settings (`kubernaut config`)."


def read_kubeconfig(kubeconfig: str) -> dict[str, Any]:
    """Return the merged files of a KUBECONFIG, as kubectl merges them: the first that names a cluster, context or user wins.

    Relative paths are made absolute.

    Raises:
        ClusterUnreachable: None of the files exists, or one is invalid.
    """
    names = [name for name in kubeconfig.split(os.pathsep) if name]
    paths = [Path(name).expanduser().absolute() for name in names]
    existing = [path for path in paths if path.is_file()]
    if not existing:
        raise ClusterUnreachable(f"No kubeconfig exists at {', '.join(map(str, paths)) or 'any place'}.", hint=_HINT)
    merged: dict[str, Any] = {section: [] for section in _SECTIONS}
    for path in existing:
        _merge(merged, _read(path), path)
    return merged


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.load(path.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise ClusterUnreachable(f"The kubeconfig {path}{where} cannot be read: {type(error).__name__}.", hint=_HINT) from error
    if not isinstance(content, dict):
        raise ClusterUnreachable(f"{path} is not a kubeconfig.", hint=_HINT)
    return content


def _merge(merged: dict[str, Any], content: dict[str, Any], path: Path) -> None:
    if content.get("current-context") and not merged.get("current-context"):
        merged["current-context"] = content["current-context"]
    for section in _SECTIONS:
        entries = content.get(section) or []
        if not isinstance(entries, list) or not all(isinstance(entry, dict) and "name" in entry for entry in entries):
            raise ClusterUnreachable(f"The kubeconfig {path} is invalid at {section}.", hint=_HINT)
        known = {entry["name"] for entry in merged[section]}
        for entry in entries:
            if entry["name"] not in known:
                merged[section].append({**entry, section[:-1]: _absolute(entry.get(section[:-1]) or {}, path.parent)})


def _absolute(body: dict[str, Any], folder: Path) -> dict[str, Any]:
    body = {key: str(folder / value) if key in _PATHS and value else value for key, value in body.items()}
    plugin = body.get("exec")
    if isinstance(plugin, dict):
        body["exec"] = _exec_plugin(plugin, folder)
    return body


def _exec_plugin(plugin: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return an exec plugin as lightkube takes it; its output (``status.token``) is the same in v1beta1 and v1."""
    command = str(plugin.get("command", ""))
    version = plugin.get("apiVersion")
    info = {"apiVersion": version, "kind": "ExecCredential", "spec": {"interactive": False}}
    return {
        **plugin,
        "command": str(folder / command) if "/" in command else command,
        "apiVersion": "client.authentication.k8s.io/v1beta1" if version == _EXEC_V1 else version,
        "env": [*(plugin.get("env") or []), {"name": "KUBERNETES_EXEC_INFO", "value": json.dumps(info)}],
    }
