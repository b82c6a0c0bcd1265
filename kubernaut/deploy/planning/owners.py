"""To whom an object in the cluster belongs, by its annotations, labels and managers. Pure."""

from __future__ import annotations

from kubernaut.history.explanation import clean
from kubernaut.history.records import few
from kubernaut.rollout.objects import Object, created_at, labels_of, mappings, metadata_of, owner_release

ADOPT = "adopt-object"
"""The kind of the action for an object that is adopted."""
_MANAGED_BY = "app.kubernetes.io/managed-by"


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
