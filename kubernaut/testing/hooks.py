"""The hooks of charts for the fake Helm: found among a chart's objects, and run in the in-memory cluster.

A Pod or Job ends at once. It fails if its command has ``exit N`` or ``exit(N)`` with another number than 0.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import yaml

from kubernaut.history.manifest import read_manifest
from kubernaut.history.records import as_mapping
from kubernaut.testing.cluster import FakeCluster

Hook = dict[str, Any]
"""A hook, as in a release's record."""

_START = re.compile(r"(?m)^---[ \t]*$")
_EXIT = re.compile(r"\bexit\s*\(?\s*(\d+)")
_DEFAULT_POLICY = "before-hook-creation"


def split_hooks(path: str, text: str) -> tuple[str, list[Hook]]:
    """Return the documents of a rendered template that are not hooks, and the hooks."""
    if "helm.sh/hook" not in text:
        return text, []
    parts: list[str] = []
    hooks: list[Hook] = []
    for part in _START.split(text):
        document = as_mapping(yaml.safe_load(part))
        metadata = as_mapping(document.get("metadata"))
        annotations = as_mapping(metadata.get("annotations"))
        if "helm.sh/hook" in annotations:
            hooks.append(
                {
                    "name": metadata.get("name"),
                    "kind": document.get("kind"),
                    "path": path,
                    "manifest": part.strip() + "\n",
                    "events": _words(annotations["helm.sh/hook"]),
                    "weight": int(annotations.get("helm.sh/hook-weight", 0)),
                    "delete_policies": _words(annotations.get("helm.sh/hook-delete-policy", "")),
                    "last_run": {"phase": ""},
                }
            )
        elif part.strip():
            parts.append(part.strip())
    return "\n---\n".join(parts), hooks


def run_hooks(cluster: FakeCluster, hooks: Sequence[Mapping[str, Any]], event: str, namespace: str) -> str | None:
    """Run the hooks of an event, by weight; return Helm's message about the first that fails.

    Args:
        cluster: The cluster.
        hooks: All hooks of the release.
        event: The event, such as ``pre-upgrade``.
        namespace: The release's namespace.
    """
    chosen = sorted((hook for hook in hooks if event in hook["events"]), key=lambda hook: (hook["weight"], hook["name"]))
    for number, hook in enumerate(chosen):
        if _has_policy(hook, _DEFAULT_POLICY):
            _remove(cluster, hook, namespace)
        failure = next(filter(None, [_run(cluster, item, namespace) for item in _objects(hook, namespace)]), None)
        if failure is not None:
            for done in [*([hook] if _has_policy(hook, "hook-failed") else []), *_succeeded(chosen[:number])]:
                _remove(cluster, done, namespace)
            return f"1 error occurred:\n\t* {failure}\n\n"
    for done in _succeeded(chosen):
        _remove(cluster, done, namespace)
    return None


def _run(cluster: FakeCluster, item: Mapping[str, Any], namespace: str) -> str | None:
    """Put an object of a hook with its end; return why it failed."""
    kind, name = str(item.get("kind")), item["metadata"]["name"]
    if kind not in ("Pod", "Job"):
        return None
    spec = as_mapping(item.get("spec"))
    pod = spec if kind == "Pod" else as_mapping(as_mapping(spec.get("template")).get("spec"))
    words = " ".join(str(word) for one in pod.get("containers") or [] for word in (*one.get("command", ()), *one.get("args", ())))
    match = _EXIT.search(words)
    failed = match is not None and int(match[1]) != 0
    job = {"conditions": [{"type": "Failed" if failed else "Complete", "status": "True", "reason": "BackoffLimitExceeded"}]}
    cluster.put({**item, "status": {"phase": "Failed" if failed else "Succeeded"} if kind == "Pod" else job}, namespace)
    if not failed:
        return None
    return f"pod {name} failed" if kind == "Pod" else f"job {name} failed: BackoffLimitExceeded"


def _remove(cluster: FakeCluster, hook: Mapping[str, Any], namespace: str) -> None:
    for item in _objects(hook, namespace):
        with suppress(KeyError):
            cluster.remove(item)


def _objects(hook: Mapping[str, Any], namespace: str) -> Iterator[dict[str, Any]]:
    for item in read_manifest(str(hook["manifest"])).objects:
        metadata = as_mapping(item.get("metadata"))
        if item.get("kind") in ("Pod", "Job"):
            yield {**item, "metadata": {**metadata, "namespace": metadata.get("namespace") or namespace}}


def _succeeded(hooks: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [hook for hook in hooks if _has_policy(hook, "hook-succeeded")]


def _has_policy(hook: Mapping[str, Any], policy: str) -> bool:
    return policy in (hook.get("delete_policies") or [_DEFAULT_POLICY])


def _words(text: Any) -> list[str]:
    return [word.strip() for word in str(text).split(",") if word.strip()]
