"""The cause in a message of Helm 3.17 or 4.2. Pure.

Helm has no error codes, so the texts of its ``pkg/kube`` and ``pkg/action`` decide; ``tests/unit/rollout/test_helm_failures.py``
holds one of each.
"""

from __future__ import annotations

import re
from dataclasses import replace

from kubernaut.errors import KubernautError
from kubernaut.rollout.problems import Cause, short
from kubernaut.rollout.refusals import Finding, first_words, listed, refusal

STARTED = re.compile(r"^[A-Z][\w-]* \S+(?: back to revision \d+)? failed(?: at [^\s:]+(?::\d+)?)?: ")
"""The prefix that kubernaut puts before Helm's message."""
NOT_IN_TIME = "The release was not ready in time."
"""The failure of a release that Helm deployed and that was not ready at the deadline; its objects show the reason."""

_HOOK = re.compile(
    r"failed (?P<installing>(?:pre|post)-install): |(?P<event>(?:pre|post)-(?:upgrade|rollback|delete)) hooks failed: "
    r"|Hook (?P<created>(?:pre|post)-[a-z]+) \S+ failed: "
)
_HOOK_NAME = re.compile(
    r"\b(?:job (?P<job>[\w.-]+) failed: (?P<why>\w+)|pod (?P<pod>[\w.-]+) failed"
    r"|resource (?P<kind>\w+)/[\w.-]*/(?P<name>[\w.-]+) not ready\. status: (?P<status>\w+), message: (?P<message>.*))"
)
_JOB_REASONS = {
    "BackoffLimitExceeded": "its pods failed as often as its backoffLimit allows",
    "Job Failed": "its pods failed as often as its backoffLimit allows",
    "DeadlineExceeded": "it ran longer than its activeDeadlineSeconds",
}
_CONFLICT = re.compile(
    r"conflict occurred while applying object (?:(?P<namespace>[\w.-]*)/)?(?P<name>[\w.:-]+) (?P<version>\S+), Kind=(?P<kind>\w+): "
)
_WRITERS = re.compile(
    r'conflicts? with "(?P<manager>[^"]*)"(?: with subresource "[^"]*")?(?: using (?P<version>[\w./-]+))?'
    r"(?: at (?P<since>\d{4}-\d\d-\d\dT[\d:]+Z))?:(?P<fields>(?: \.\S+)|(?:\s*\n- \.\S+)+)"
)
_FIELD = re.compile(r"(?: |- )(?P<field>\.\S+)")
_OWNERSHIP = re.compile(
    r'(?P<kind>\w+) "(?P<name>[^"]+)" in namespace "(?P<namespace>[^"]*)" exists and cannot be imported into the current release'
)
_CURRENT_VALUE = re.compile(r'key "meta\.helm\.sh/release-(name|namespace)" must equal "[^"]*": current value is "([^"]*)"')
_UNKNOWN = re.compile(r'(?:no|original object) (?P<kind>\w+) with the name "(?P<name>[^"]+)" (?:not )?found')
"""Of a rollback: an object that exists and that the record which Helm compares with does not have."""
_NO_KIND = re.compile(r'no matches for kind "(?P<kind>[^"]+)" in (?:version|group) "(?P<version>[^"]+)"')
_MAPPING_NAME = re.compile(r'resource mapping not found for name: "(?P<name>[^"]*)" namespace: "(?P<namespace>[^"]*)"')
_REMOVED = re.compile(
    r"current release manifest contains removed kubernetes api|kubernetes objects (?:from current release manifest|for delete)"
)
_DEADLINE = re.compile(
    r"timed out waiting|context deadline exceeded|would exceed context deadline|took longer than|not ready\. status: (?!Failed)"
    rf"|{re.escape(NOT_IN_TIME)}"
)
_ONLY_WAITED = re.compile(
    r"(?:context deadline exceeded|timed out waiting for the condition|.* took longer than [\d.]+ s, and Helm was stopped\.?)"
    rf"|{re.escape(NOT_IN_TIME)}"
    r"|(?:time=\S+ )?level=(?:DEBUG|INFO|WARN)\b.*|(?:Pulled|Digest): \S+|[IW]\d{4} [\d:.]+ +\d+ \w+\.go:\d+\] .*"
)
_STOPPED = re.compile(r"took longer than (?P<seconds>[\d.]+) s")
_NOT_READY = re.compile(
    r"resource (?P<kind>\w+)/[\w.-]*/(?P<name>[\w.-]+) not ready\. status: (?P<status>\w+), message: (?P<message>[^\n]*)"
)
_FAILED = re.compile(r"resource (?P<kind>\w+)/[\w.-]*/(?P<name>[\w.-]+) not ready\. status: Failed, message: (?P<message>[^\n]*)")
# A Job or Pod that was waited for, and a hook of a rollback, which Helm 3 does not call one.
_FAILED_JOB = re.compile(
    r"\bjob is failed: [\w.-]*/(?P<name>[\w.-]+)|\b(?:job|pod) (?P<other>[\w.-]+) failed(?:: (?P<message>[^\n]*))?"
)

SUCCESSORS = {
    ("Ingress", "extensions/v1beta1"): "networking.k8s.io/v1",
    ("Ingress", "networking.k8s.io/v1beta1"): "networking.k8s.io/v1",
    ("NetworkPolicy", "extensions/v1beta1"): "networking.k8s.io/v1",
    ("Deployment", "extensions/v1beta1"): "apps/v1",
    ("Deployment", "apps/v1beta1"): "apps/v1",
    ("Deployment", "apps/v1beta2"): "apps/v1",
    ("StatefulSet", "apps/v1beta1"): "apps/v1",
    ("StatefulSet", "apps/v1beta2"): "apps/v1",
    ("DaemonSet", "extensions/v1beta1"): "apps/v1",
    ("CronJob", "batch/v1beta1"): "batch/v1",
    ("PodDisruptionBudget", "policy/v1beta1"): "policy/v1",
    ("HorizontalPodAutoscaler", "autoscaling/v2beta1"): "autoscaling/v2",
    ("HorizontalPodAutoscaler", "autoscaling/v2beta2"): "autoscaling/v2",
    ("CustomResourceDefinition", "apiextensions.k8s.io/v1beta1"): "apiextensions.k8s.io/v1",
    ("EndpointSlice", "discovery.k8s.io/v1beta1"): "discovery.k8s.io/v1",
    ("DaemonSet", "apps/v1beta2"): "apps/v1",
    ("ReplicaSet", "extensions/v1beta1"): "apps/v1",
    ("ReplicaSet", "apps/v1beta2"): "apps/v1",
    ("IngressClass", "networking.k8s.io/v1beta1"): "networking.k8s.io/v1",
    ("Role", "rbac.authorization.k8s.io/v1beta1"): "rbac.authorization.k8s.io/v1",
    ("RoleBinding", "rbac.authorization.k8s.io/v1beta1"): "rbac.authorization.k8s.io/v1",
    ("ClusterRole", "rbac.authorization.k8s.io/v1beta1"): "rbac.authorization.k8s.io/v1",
    ("ClusterRoleBinding", "rbac.authorization.k8s.io/v1beta1"): "rbac.authorization.k8s.io/v1",
    ("StorageClass", "storage.k8s.io/v1beta1"): "storage.k8s.io/v1",
    ("CSIDriver", "storage.k8s.io/v1beta1"): "storage.k8s.io/v1",
    ("CSINode", "storage.k8s.io/v1beta1"): "storage.k8s.io/v1",
    ("VolumeAttachment", "storage.k8s.io/v1beta1"): "storage.k8s.io/v1",
    ("PriorityClass", "scheduling.k8s.io/v1beta1"): "scheduling.k8s.io/v1",
    ("Lease", "coordination.k8s.io/v1beta1"): "coordination.k8s.io/v1",
    ("APIService", "apiregistration.k8s.io/v1beta1"): "apiregistration.k8s.io/v1",
    ("CertificateSigningRequest", "certificates.k8s.io/v1beta1"): "certificates.k8s.io/v1",
    ("RuntimeClass", "node.k8s.io/v1beta1"): "node.k8s.io/v1",
    ("MutatingWebhookConfiguration", "admissionregistration.k8s.io/v1beta1"): "admissionregistration.k8s.io/v1",
    ("ValidatingWebhookConfiguration", "admissionregistration.k8s.io/v1beta1"): "admissionregistration.k8s.io/v1",
    ("FlowSchema", "flowcontrol.apiserver.k8s.io/v1beta3"): "flowcontrol.apiserver.k8s.io/v1",
    ("PriorityLevelConfiguration", "flowcontrol.apiserver.k8s.io/v1beta3"): "flowcontrol.apiserver.k8s.io/v1",
}
"""The apiVersion that replaces a removed one, by kind and apiVersion."""


def helm_text(failure: KubernautError) -> str:
    """Return Helm's own words in a failure, whole."""
    first = STARTED.sub("", failure.message, count=1)
    rest = "\n".join(failure.details)
    return rest if first.rstrip(".") and first.rstrip(".") in rest else "\n".join(filter(None, (first, rest)))


def added_words(failure: KubernautError, known: str) -> str:
    """Return Helm's own words without what says only that it waited, and empty if ``known`` has them."""
    lines = [line for line in helm_text(failure).splitlines() if line.strip() and not _ONLY_WAITED.fullmatch(line.strip())]
    text = "\n".join(lines)
    return "" if text.strip().rstrip(".").lower() in known.lower() else text


def helm_finding(failure: KubernautError) -> Finding:
    """Return the meaning of a failure of Helm."""
    text = helm_text(failure)
    hook = _HOOK.search(text)
    found = next((found for find in _FINDERS if (found := find(text)) is not None), None)
    if hook is not None:
        event = hook["installing"] or hook["event"] or hook["created"] or ""
        if found is None:
            return _hook_finding(event, text[hook.end() :])
        return replace(found, facts={**found.facts, "hook": event})
    if found is not None:
        return found
    failed = _FAILED.search(text) or _FAILED_JOB.search(text)
    if failed is not None:
        known = failed.groupdict()
        kind, name = known.get("kind") or ("Job" if "job" in failed[0] else "Pod"), failed["name"] or known.get("other") or ""
        cause = Cause.JOB_FAILED if kind == "Job" else Cause.POD_FAILED if kind == "Pod" else Cause.HELM_FAILED
        why = f": {short(known['message'])}" if known.get("message") else ""
        return Finding(cause, f"{kind} {name} failed{why}", {"kind": kind, "name": name}, decides=False)
    if _DEADLINE.search(text):
        return _deadline_finding(text)
    return Finding(Cause.HELM_FAILED, first_words(text))


# what Helm reports


def _hook_finding(event: str, text: str) -> Finding:
    named = _HOOK_NAME.search(text)
    facts = {"hook": event}
    if named is None:
        timed_out = _DEADLINE.search(text) is not None
        why = f"its {event} hook did not finish in time" if timed_out else f"its {event} hook failed: {first_words(text)}"
        return Finding(Cause.HOOK_FAILED, why, {**facts, "timedOut": "true"} if timed_out else facts)
    kind = "Job" if named["job"] else "Pod" if named["pod"] else named["kind"]
    name = named["job"] or named["pod"] or named["name"]
    facts |= {"kind": kind, "name": name}
    if named["status"] and named["status"] != "Failed":
        return Finding(Cause.HOOK_FAILED, f"{event} hook {name} did not finish in time", {**facts, "timedOut": "true"})
    reason = short(named["why"] or named["message"]) if named["why"] or named["message"] else ""
    why = next((words for start, words in _JOB_REASONS.items() if reason.startswith(start)), reason)
    return Finding(Cause.HOOK_FAILED, f"{event} hook {name} failed" + (f" ({why})" if why else ""), {**facts, "reason": reason})


def _deadline_finding(text: str) -> Finding:
    stopped = _STOPPED.search(text)
    facts = {"seconds": stopped["seconds"]} if stopped else {}
    waiting = _NOT_READY.search(text)
    why = "it was not ready in time" if stopped is None else f"it was not ready after {stopped['seconds']} s"
    if waiting is not None:
        facts |= {"kind": waiting["kind"], "name": waiting["name"]}
        message = short(waiting["message"]) if waiting["message"].strip() else f"Helm reports the status {waiting['status']}"
        why = f"{waiting['kind']} {waiting['name']} was not ready in time: {message}"
    return Finding(Cause.DEADLINE_EXCEEDED, why, facts, decides=False)


def conflicting_objects(failure: KubernautError) -> frozenset[tuple[str, str]]:
    """Return the kinds and names of the objects that Helm did not apply because others manage fields of them."""
    return frozenset((found["kind"], found["name"]) for found in _CONFLICT.finditer(helm_text(failure)))


def _apply_conflict(text: str) -> Finding | None:
    found = _CONFLICT.search(text)
    if found is None:
        return None
    following = _CONFLICT.search(text, found.end())
    rest = text[found.end() : following.start() if following else len(text)]
    writers = list(_WRITERS.finditer(rest))
    fields = [match["field"].rstrip(".") for writer in writers for match in _FIELD.finditer(writer["fields"])]
    fields, managers = list(dict.fromkeys(fields)), list(dict.fromkeys(writer["manager"] for writer in writers))
    since = max((writer["since"] or "" for writer in writers), default="")
    facts = {
        "kind": found["kind"],
        "namespace": found["namespace"] or "",
        "name": found["name"],
        "field": ", ".join(fields),
        "manager": ", ".join(managers),
        "since": since,
    }
    which = f"field {fields[0]}" if len(fields) == 1 else f"fields {listed(fields)}" if fields else "a field"
    whom = listed(managers) or "another field manager"
    is_or_are = "is" if len(fields) < 2 else "are"
    when = f" since {since.replace('T', ' ').removesuffix('Z')} UTC" if since else ""
    return Finding(
        Cause.APPLY_CONFLICT, f"{which} of {found['kind']} {found['name']} {is_or_are} managed by {whom}{when}, not by Helm", facts
    )


def _foreign_object(text: str) -> Finding | None:
    found = _OWNERSHIP.search(text)
    if found is None:
        return None
    owner = dict(_CURRENT_VALUE.findall(text[found.end() :]))
    facts = {**found.groupdict(), "owner": owner.get("name", ""), "ownerNamespace": owner.get("namespace", "")}
    title = f"{found['kind']} {found['name']}" + (f" in namespace {found['namespace']}" if found["namespace"] else "")
    if owner:
        named = f"release {owner['name']}" if "name" in owner else "a release of the same name"
        where = f" in namespace {owner['namespace']}" if "namespace" in owner else ""
        why = f"{title} belongs to {named}{where}"
    else:
        why = f"{title} exists already and was not created by Helm"
    return Finding(Cause.OWNED_BY_ANOTHER_RELEASE, why, facts)


def _unknown_object(text: str) -> Finding | None:
    found = _UNKNOWN.search(text)
    if found is None:
        return None
    title = f"{found['kind']} {found['name']}"
    why = f"{title} exists, and the revision that Helm compares with does not have it"
    return Finding(Cause.OWNED_BY_ANOTHER_RELEASE, why, {**found.groupdict(), "compared": "true"})


def _missing_kind(text: str) -> Finding | None:
    found = _NO_KIND.search(text)
    if found is None:
        return None
    kind, version = found["kind"], found["version"]
    named = _MAPPING_NAME.search(text)
    name = named["name"] if named else ""
    title = f"{kind} {name}" if name else kind
    facts = {"kind": kind, "name": name, "apiVersion": version, "replacement": SUCCESSORS.get((kind, version), "")}
    group = version.rpartition("/")[0]
    if _REMOVED.search(text):
        facts["manifest"] = "previous"
        return Finding(
            Cause.API_VERSION_MISSING,
            f"{title} of the previous revision has apiVersion {version}, which the cluster no longer serves",
            facts,
        )
    is_own = "." in group and not group.endswith(".k8s.io")
    missing = "which is not installed in the cluster" if is_own else "which the cluster does not serve"
    facts["installed"] = "false" if is_own else ""
    return Finding(Cause.API_VERSION_MISSING, f"{title} has apiVersion {version}, {missing}", facts)


_FINDERS = (_apply_conflict, _foreign_object, _unknown_object, _missing_kind, refusal)
