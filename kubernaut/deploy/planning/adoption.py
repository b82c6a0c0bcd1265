"""Adopt a release that failed because it was not ready in time, and that is ready now. Nothing is rolled out again.

Only a release that is exactly what is requested is adopted: the same chart and values, every object as its manifest has it, ready
by the rules of health, its application answering, and no hook left out. In any other case an upgrade is the way out. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kubernaut.deploy.planning.leftovers import was_applied
from kubernaut.deploy.planning.revisions import chart_of
from kubernaut.deploy.requests import DeployRequest
from kubernaut.deploy.values.layers import canonical
from kubernaut.history.records import Record, Status, as_mapping
from kubernaut.history.releases import find_operation
from kubernaut.history.store import ReleaseHistory

ADOPT = "adopt-record"
"""The action that marks a failed release deployed."""

_PROBE_SECONDS = 5.0
_INSTALLS = frozenset({"helm-install", "helm-install-replace"})


def failed_late(history: ReleaseHistory, request: DeployRequest) -> Record | None:
    """Return the current record if it is what is requested, was applied whole, and failed because it was not ready in time."""
    current = history.current
    if current is None or current.damaged or current.status not in (Status.FAILED, Status.DEPLOYED):
        return None
    found = find_operation(current, history.operations)
    if found is None or found[0].verb != "deploy" or not was_applied(current, history):
        return None
    same = chart_of(current, history).digest == request.chart_digest
    return current if same and canonical(current.config) == canonical(request.merged_values(history)) else None


def missing_hook(record: Record, history: ReleaseHistory) -> str | None:
    """Return a hook that should have run after the objects were ready and did not, as ``post-upgrade hook NAME``."""
    found = find_operation(record, history.operations)
    actions = found[0].plan.actions if found is not None else ()
    event = "post-install" if actions and actions[-1].kind in _INSTALLS else "post-upgrade"
    hooks = record.content.get("hooks")
    for hook in hooks if isinstance(hooks, list) else ():
        known = as_mapping(hook)
        if event in (known.get("events") or ()) and as_mapping(known.get("last_run")).get("phase") != "Succeeded":
            return f"{event} hook {known.get('name')}"
    return None


def covers(live: Any, wanted: Any) -> bool:
    """Return whether a live object has every field of a manifest's; where the API server writes a value otherwise, it has not."""
    if isinstance(wanted, Mapping):
        return isinstance(live, Mapping) and all(
            key == "stringData" or covers(live.get(key), value) for key, value in wanted.items() if not _is_empty(value)
        )
    if isinstance(wanted, list):
        return (
            isinstance(live, list) and len(live) >= len(wanted) and all(any(covers(item, one) for item in live) for one in wanted)
        )
    return bool(live == wanted)


def _is_empty(value: Any) -> bool:
    """Return whether a field means the same as none: null, or an empty map or list, also within maps."""
    return value is None or value == [] or (isinstance(value, Mapping) and all(map(_is_empty, value.values())))
