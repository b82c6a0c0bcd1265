"""To whom an object in the cluster belongs, by its annotations, labels and managers. Pure."""

from __future__ import annotations

from kubernaut.history.explanation import clean
from kubernaut.history.records import few
from kubernaut.models import Action
from kubernaut.rollout.objects import Object, ObjectKey, created_at, labels_of, mappings, metadata_of, owner_release

ADOPT = "adopt-object"
"""The kind of the action for an object that is adopted."""
_MANAGED_BY = "app.kubernetes.io/managed-by"


def adopt_action(key: ObjectKey, namespace: str, reason: str) -> Action:
    """Return the action that adopts an object of a release in this namespace."""
    where = "" if key.namespace == namespace else f" in {key.namespace}"
    return Action(kind=ADOPT, subject=f"{key.kind}/{key.name}{where}", reason=reason)


def owner_of(live: Object, name: str, namespace: str) -> str:
    """Return to whom an object belongs, by its annotations, labels and managers; empty if it is the release's own."""
    labels, (release, place) = labels_of(live), owner_release(live)
    if (release, place, labels.get(_MANAGED_BY)) == (name, namespace, "Helm"):
        return ""
    if release:
        owner = f"it belongs to the release {release}" + (f" in namespace {place}" if place else "")
    else:
        owner = "it belongs to no release"
    managers = dict.fromkeys(str(entry.get("manager")) for entry in mappings(metadata_of(live).get("managedFields")))
    created = created_at(live)
    facts = [
        f"created {created:%Y-%m-%d %H:%M:%S} UTC" if created else "",
        f"written by {few(managers, 5)}" if managers else "",
        f"labelled {_MANAGED_BY}={labels[_MANAGED_BY]}" if labels.get(_MANAGED_BY) else "",
    ]
    return clean("; ".join([owner, *filter(None, facts)]))
