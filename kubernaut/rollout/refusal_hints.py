"""The next step after Helm or the API server has refused an object. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping

from kubernaut.rollout.hint_facts import Facts, Pair, same
from kubernaut.rollout.problems import Cause
from kubernaut.rollout.refusals import listed


def _conflict(facts: Facts) -> Pair:
    field = listed(facts.get("field").split(", ")) if facts.get("field") else "the field"
    advice = f"Else leave {field} out of the chart"
    shown = f"`kubectl get {facts.object} {facts.where} -o yaml --show-managed-fields`" if facts.object else facts.explain
    return (
        f"To overwrite it, run the same command again with `--on-conflict take`. {advice}; {shown} shows who writes which field.",
        f"To overwrite it, send `onConflict: take`. {advice}.",
    )


def _ownership(facts: Facts) -> Pair:
    advice = "Else rename the object in the chart, or delete the other"
    where = f" {facts.where}" if facts.get("namespace") else ""
    shown = f"; `kubectl get {facts.object}{where} -o yaml` shows it" if facts.object else ""
    if facts.get("compared"):
        again = "Do the same again: an object of the release is adopted then, and the owner of another one is named"
        return f"{again}{shown}.", f"{again}."
    return (
        f"To let this release adopt it, run the same command again with `--take-ownership`; --dry-run lists what is adopted."
        f" {advice}{shown}.",
        f"To let this release adopt it, send `takeOwnership: true`; a dry run lists what is adopted. {advice}.",
    )


def _immutable(facts: Facts) -> Pair:
    kind = facts.get("kind")
    advice = "Give the object another name in the chart, or leave the field as it was"
    if not facts.object:
        return same(f"{advice}.")
    lost = {"PersistentVolumeClaim": " (its data is lost)", "Deployment": " (its pods stop until then)"}.get(kind, "")
    kept, orphan = (" (its pods go on running)", " --cascade=orphan") if kind == "StatefulSet" else (lost, "")
    command = f"`kubectl delete {facts.object} {facts.where}{orphan}`"
    return (
        f"{advice}; or delete it, so that the next deploy creates it anew{kept}: {command}.",
        f"{advice}; or delete it, so that the next deploy creates it anew{lost}.",
    )


def _invalid(facts: Facts) -> Pair:
    field = facts.get("field")
    if facts.get("expected") == "string":
        pairs, quoting = facts.get("setString") or "KEY=VALUE", "or quote the value in the chart"
        return f"Add `--set-string {shlex.quote(pairs)}` to the command, {quoting}.", f"Send `{pairs}` in `setString`, {quoting}."
    changed = listed(facts.get("changed").split(", ")) if facts.get("changed") else ""
    if changed and facts.object:
        advice = f"Others have changed {changed} of the object, and both together do not fit: set it back"
        anew = "or delete the object, so that the next deploy creates it anew"
        return f"{advice}, {anew}: `kubectl delete {facts.object} {facts.where}`.", f"{advice}, {anew}."
    return same(f"Correct {field} in the chart or its values." if field else "Correct the object in the chart or its values.")


def _access(facts: Facts) -> Pair:
    user, verb, resource = facts.get("user"), facts.object_name("verb"), facts.object_name("resource")
    grant = f"Grant {user or 'the user'} the right with a Role and a RoleBinding"
    if not (verb and resource and re.fullmatch(r"[\w:.@-]+", user)):
        return f"{grant}; `kubectl auth can-i --list -n {facts.namespace}` lists the rights.", f"{grant}."
    where = facts.where if facts.get("namespace") else "-A"
    return f"{grant}; `kubectl auth can-i {verb} {resource} {where} --as {user}` checks it.", f"{grant}."


def _api_version(facts: Facts) -> Pair:
    kind, replacement = facts.get("kind"), facts.get("replacement")
    if facts.get("manifest") == "previous":
        advice = (
            "Helm compares with the previous revision and cannot: delete the release and deploy it anew, or rewrite its record with"
            " the Helm plugin mapkubeapis"
        )
        return f"{advice}: `helm mapkubeapis {facts.name} -n {facts.namespace}`.", f"{advice}."
    if facts.get("installed") == "false":
        advice = f"Install the operator or CustomResourceDefinition that defines {kind} first, then deploy again"
        return f"{advice}; `kubectl get crd` lists what is installed.", f"{advice}."
    advice = f"Change the chart to apiVersion {replacement}" if replacement else "Change the chart to a version that is served"
    return f"{advice}; `kubectl api-resources` lists the versions that the cluster serves.", f"{advice}."


REFUSAL_HINTS: Mapping[str, Callable[[Facts], Pair]] = {
    Cause.APPLY_CONFLICT: _conflict,
    Cause.OWNED_BY_ANOTHER_RELEASE: _ownership,
    Cause.FIELD_IMMUTABLE: _immutable,
    Cause.OBJECT_INVALID: _invalid,
    Cause.ACCESS_DENIED: _access,
    Cause.API_VERSION_MISSING: _api_version,
}
