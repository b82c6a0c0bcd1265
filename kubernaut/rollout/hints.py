"""The next step after a failure, as a command to paste or as a call of the REST API. Pure.

A name goes into a command only if it is a valid one: names in explanations come from manifests and from the cluster's messages.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from kubernaut.history.explanation import Explanation
from kubernaut.rollout.problems import Cause
from kubernaut.rollout.refusals import listed

_NAME = re.compile(r"[a-z0-9](?:[-a-z0-9.]*[a-z0-9])?")
_IMAGE = re.compile(r"[A-Za-z0-9][\w./:@-]*")
_KIND = re.compile(r"[A-Za-z][A-Za-z0-9]*")
_LONGEST_NAME = 253


@dataclass(frozen=True)
class Hints:
    """The next step.

    Attributes:
        hint: For the command line.
        http_hint: For a program that uses the REST API: it names no command and no option.
    """

    hint: str
    http_hint: str


@dataclass(frozen=True)
class _Facts:
    """The facts of an explanation; a name that is not valid is missing."""

    facts: Mapping[str, str]
    namespace: str
    name: str

    def get(self, fact: str) -> str:
        return self.facts.get(fact, "")

    def object_name(self, fact: str) -> str:
        value = self.get(fact)
        return value if len(value) <= _LONGEST_NAME and _NAME.fullmatch(value) else ""

    @property
    def where(self) -> str:
        """The namespace of the object as an option."""
        return f"-n {self.object_name('namespace') or self.namespace}"

    @property
    def object(self) -> str:
        """``deployment/web``; empty if it is not known."""
        kind, name = self.get("kind"), self.object_name("name")
        return f"{kind.lower()}/{name}" if name and _KIND.fullmatch(kind) else ""

    @property
    def explain(self) -> str:
        return f"`kubernaut explain {self.name} -n {self.namespace}`"

    @property
    def explanation(self) -> str:
        return f"`GET /api/releases/{self.namespace}.{self.name}.current/explanation`"

    def describe(self, kind: str = "", name: str = "") -> str:
        """A command that shows an object with its events."""
        about = f"{kind.lower()}/{name}" if kind and name else self.object
        return f"`kubectl describe {about} {self.where}`" if about else self.explain


def hint_for(explanation: Explanation, namespace: str, name: str) -> Hints:
    """Return the next step.

    Args:
        explanation: Why the operation failed.
        namespace: The release's namespace.
        name: The release's name.
    """
    facts = _Facts(explanation.facts, namespace, name)
    make, fixed = _HINTS.get(explanation.cause), _FIXED.get(explanation.cause)
    if fixed is not None:
        return Hints(*fixed)
    if make is None:
        return Hints(f"{facts.explain} shows the evidence.", f"{facts.explanation} shows the evidence.")
    return Hints(*make(facts))


_Pair = tuple[str, str]


def _same(text: str) -> _Pair:
    return text, text


# images


def _image_not_found(facts: _Facts) -> _Pair:
    image = facts.get("image")
    if facts.get("pullPolicy") == "Never":
        return _same(
            "Set imagePullPolicy to IfNotPresent in the chart's values, or load the image on each node, then deploy again."
        )
    check = f"`docker manifest inspect {image}`" if len(image) <= _LONGEST_NAME and _IMAGE.fullmatch(image) else "The registry"
    advice = "Correct the image in the chart's values, or push it, then deploy again."
    return f"{check} shows whether the image exists. {advice}", advice


def _image_denied(facts: _Facts) -> _Pair:
    secret = facts.object_name("pullSecret") or "regcred"
    command = (
        f"`kubectl create secret docker-registry {secret} {facts.where} --docker-server=REGISTRY --docker-username=USER"
        " --docker-password=PASSWORD`"
    )
    advice = (
        f"{'Create' if facts.get('missing') else 'Correct'} Secret {secret} with credentials that may read the image"
        if facts.object_name("pullSecret")
        else "Create a Secret with credentials that may read the image, and name it in imagePullSecrets of the pod"
    )
    return f"{advice}: {command}.", f"{advice}."


def _image_pull(facts: _Facts) -> _Pair:
    advice = "Check that the cluster's nodes reach the registry, and that its certificate is valid for them"
    return f"{advice}; {_events(facts)} repeats the message.", f"{advice}."


# containers


def _events(facts: _Facts) -> str:
    pod = facts.object_name("pod")
    return facts.describe("Pod", pod) if pod else facts.describe()


def _logs(facts: _Facts) -> _Pair:
    pod, container = facts.object_name("pod"), facts.object_name("container")
    previous = " --previous" if facts.get("restarts") not in ("", "0") else ""
    command = f"`kubernaut logs {facts.name} -n {facts.namespace}{previous}`"
    if (
        pod and container and (facts.get("hook") or facts.get("init") or facts.get("kind") == "Job")
    ):  # their pods are not the release's
        command = f"`kubectl logs {pod} -c {container} {facts.where}{previous}`"
    advice = "Correct the program or its configuration, then deploy again"
    if facts.get("hook") and not pod:
        kept = "with the annotation helm.sh/hook-delete-policy: before-hook-creation the hook's pod and log stay"
        return _same(f"{advice}; {kept}.")
    return f"{advice}; as long as its pod exists, {command} prints more of its output.", f"{advice}; `evidence` has its last lines."


def _memory(facts: _Facts) -> _Pair:
    limit = facts.get("limit")
    now = f" (now {limit})" if limit else ""
    return _same(f"Raise resources.limits.memory of the container{now} in the chart's values, or make the program use less memory.")


def _command(facts: _Facts) -> _Pair:
    file = facts.get("command") or "the program"
    return _same(
        f"Check that {file} is in the image, executable, and built for the node's architecture;"
        " `command` and `args` of the container replace ENTRYPOINT and CMD of the image."
    )


def _missing(facts: _Facts) -> _Pair:
    if "runAsNonRoot" in facts.get("reason"):
        return _same(
            "Give the image a USER other than root, or set securityContext.runAsUser of the container to another user than 0."
        )
    kind, name, key = facts.get("missing"), facts.object_name("missingName"), facts.get("key")
    if not _KIND.fullmatch(kind) or not name:
        return f"{_events(facts)} shows the reason.", "`evidence` has the reason."
    if kind == "PersistentVolumeClaim":
        return (
            f"Add the claim to the chart, or create it; `kubectl get pvc {facts.where}` lists the claims.",
            "Add the claim to the chart.",
        )
    what = f"Add key {key} to {kind} {name}" if key else f"Create {kind} {name}"
    command = f"`kubectl {'describe' if key else 'get'} {kind.lower()} {name} {facts.where}`"
    alternative = "correct the name in the chart"
    return f"{what}, or {alternative}; {command} shows what exists.", f"{what}, or {alternative}."


def _probe(facts: _Facts) -> _Pair:
    target = facts.get("path") or (f"port {facts.get('port')}" if facts.get("port") else "its command")
    check = f"Check that the program serves {target} within the probe's time"
    command = f"`kubernaut logs {facts.name} -n {facts.namespace}` prints its output."
    return f"{check}. {command}", f"{check}; `evidence` has its last lines."


# pods and the cluster


def _quota(facts: _Facts) -> _Pair:
    quota = facts.object_name("quota")
    advice = "Ask for less, delete what is not needed, or have the quota raised"
    if facts.get("needs"):
        advice = "Set these resources for each container in the chart's values"
    return f"{advice}; `kubectl describe quota{f' {quota}' if quota else ''} {facts.where}` shows it.", f"{advice}."


def _admission(facts: _Facts) -> _Pair:
    webhook, level = facts.get("webhook"), facts.get("podSecurity")
    if level:
        advice = f"Set the securityContext that the message names; the namespace enforces the Pod Security level {level}"
        return f"{advice}: `kubectl get namespace {facts.object_name('namespace') or facts.namespace} --show-labels`.", f"{advice}."
    if facts.get("unanswered"):
        advice = f"The webhook's own service does not run: repair it first, then deploy again ({webhook})."
        return f"{advice} `kubectl get validatingwebhookconfigurations,mutatingwebhookconfigurations` lists the webhooks.", advice
    return _same("Change the object as the message demands, or have the rule changed, then deploy again.")


def _claim(facts: _Facts) -> _Pair:
    if facts.get("missing"):
        return _missing(facts)
    if facts.get("provisioner"):
        advice = f"Check that provisioner {facts.get('provisioner')} runs in the cluster"
        return f"{advice}; {facts.describe()} shows its events.", f"{advice}."
    advice = "Name an existing storage class in the chart's values, or have a default one set"
    return f"{advice}: `kubectl get storageclass` lists them.", f"{advice}."


def _job(facts: _Facts) -> _Pair:
    if facts.get("timedOut"):
        hook = facts.describe()
        return (
            f"{hook} shows what it waits for; allow more time with --timeout 10m if it is only slow.",
            "Allow more time with `timeout`, in seconds, if it is only slow; else correct it.",
        )
    if facts.get("reason") == "DeadlineExceeded":
        return _same("Raise activeDeadlineSeconds of the Job in the chart's values, or make it faster, then deploy again.")
    return _logs(facts)


def _service(facts: _Facts) -> _Pair:
    name = facts.object_name("name")
    advice = "Make the selector of the Service equal to the labels of the pods"
    command = f"`kubectl get service {name} -o wide {facts.where}`" if name else facts.explain
    return f"{advice}: {command} shows the one, `kubectl get pods --show-labels {facts.where}` the others.", f"{advice}."


def _load_balancer(facts: _Facts) -> _Pair:
    advice = "This cluster needs a load balancer controller for it; without one, use type ClusterIP or NodePort"
    return f"{advice}. {facts.describe()} shows what it waits for.", f"{advice}."


def _condition(facts: _Facts) -> _Pair:
    return f"{_events(facts)} shows its conditions and events.", f"{facts.explanation} shows the evidence."


def _terminating(facts: _Facts) -> _Pair:
    namespace = facts.object_name("namespace") or facts.namespace
    return (
        f"Wait until it is gone (`kubectl get namespace {namespace}`), then deploy again with --create-namespace.",
        "Wait until it is gone, then send the request again with `createNamespace: true`.",
    )


def _application_probe(facts: _Facts) -> _Pair:
    advice = "Correct `probe` in kubernaut.yaml, or the program that should answer it"
    return f"{advice}; `kubernaut logs {facts.name} -n {facts.namespace}` prints its output.", f"{advice}."


# what Helm and the API server refuse


def _conflict(facts: _Facts) -> _Pair:
    field = listed(facts.get("field").split(", ")) if facts.get("field") else "the field"
    advice = f"Else leave {field} out of the chart"
    shown = f"`kubectl get {facts.object} {facts.where} -o yaml --show-managed-fields`" if facts.object else facts.explain
    return (
        f"To overwrite it, run the same command again with `--on-conflict take`. {advice}; {shown} shows who writes which field.",
        f"To overwrite it, send `onConflict: take`. {advice}.",
    )


def _ownership(facts: _Facts) -> _Pair:
    advice = "Else rename the object in the chart, or delete the other"
    where = f" {facts.where}" if facts.get("namespace") else ""
    shown = f"; `kubectl get {facts.object}{where} -o yaml` shows it" if facts.object else ""
    return (
        f"To let this release adopt it, run the same command again with `--take-ownership`; --dry-run lists what is adopted."
        f" {advice}{shown}.",
        f"To let this release adopt it, send `takeOwnership: true`; a dry run lists what is adopted. {advice}.",
    )


def _immutable(facts: _Facts) -> _Pair:
    kind = facts.get("kind")
    advice = "Give the object another name in the chart, or leave the field as it was"
    if not facts.object:
        return _same(f"{advice}.")
    lost = {"PersistentVolumeClaim": " (its data is lost)", "Deployment": " (its pods stop until then)"}.get(kind, "")
    kept, orphan = (" (its pods go on running)", " --cascade=orphan") if kind == "StatefulSet" else (lost, "")
    command = f"`kubectl delete {facts.object} {facts.where}{orphan}`"
    return (
        f"{advice}; or delete it, so that the next deploy creates it anew{kept}: {command}.",
        f"{advice}; or delete it, so that the next deploy creates it anew{lost}.",
    )


def _invalid(facts: _Facts) -> _Pair:
    field = facts.get("field")
    if facts.get("expected") == "string":
        pairs, quoting = facts.get("setString") or "KEY=VALUE", "or quote the value in the chart"
        return f"Add `--set-string {shlex.quote(pairs)}` to the command, {quoting}.", f"Send `{pairs}` in `setString`, {quoting}."
    return _same(f"Correct {field} in the chart or its values." if field else "Correct the object in the chart or its values.")


def _access(facts: _Facts) -> _Pair:
    user, verb, resource = facts.get("user"), facts.object_name("verb"), facts.object_name("resource")
    grant = f"Grant {user or 'the user'} the right with a Role and a RoleBinding"
    if not (verb and resource and re.fullmatch(r"[\w:.@-]+", user)):
        return f"{grant}; `kubectl auth can-i --list -n {facts.namespace}` lists the rights.", f"{grant}."
    where = facts.where if facts.get("namespace") else "-A"
    return f"{grant}; `kubectl auth can-i {verb} {resource} {where} --as {user}` checks it.", f"{grant}."


def _api_version(facts: _Facts) -> _Pair:
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


def _deadline(facts: _Facts) -> _Pair:
    more = "Allow more time with {} if it is only slow"
    shown = f"{facts.describe()} shows what it waits for"
    late = "If it becomes ready later, the same deploy adopts it."
    return f"{more.format('--timeout 10m')}; {shown}. {late}", f"{more.format('`timeout`, in seconds,')}. {late}"


_FIXED: Mapping[str, _Pair] = {
    Cause.IMAGE_NAME_INVALID: _same(
        "Correct the image in the chart's values: REGISTRY/REPOSITORY:TAG or REGISTRY/REPOSITORY@DIGEST, in lower case."
    ),
    Cause.POD_UNSCHEDULABLE: (
        "Lower the resource requests, correct node selectors and tolerations, or add nodes; `kubectl describe nodes` shows what is"
        " free.",
        "Lower the resource requests, correct node selectors and tolerations, or add nodes.",
    ),
    Cause.OBJECT_DELETED: _same("Find out what deletes it, then deploy again: that creates it anew."),
    Cause.NODE_PORT_TAKEN: (
        "Choose another nodePort, or leave it out, and the cluster chooses a free one. `kubectl get services -A` lists the ports in"
        " use.",
        "Choose another nodePort, or leave it out, and the cluster chooses a free one.",
    ),
}
_HINTS: Mapping[str, Callable[[_Facts], _Pair]] = {
    Cause.IMAGE_NOT_FOUND: _image_not_found,
    Cause.IMAGE_DENIED: _image_denied,
    Cause.IMAGE_PULL_FAILED: _image_pull,
    Cause.CONTAINER_CRASHED: _logs,
    Cause.CONTAINER_OUT_OF_MEMORY: _memory,
    Cause.CONTAINER_COMMAND_INVALID: _command,
    Cause.CONTAINER_CONFIG_INVALID: _missing,
    Cause.VOLUME_NOT_MOUNTED: _missing,
    Cause.PODS_NOT_CREATED: _missing,
    Cause.LIVENESS_PROBE_FAILED: _probe,
    Cause.STARTUP_PROBE_FAILED: _probe,
    Cause.READINESS_PROBE_FAILED: _probe,
    Cause.QUOTA_EXCEEDED: _quota,
    Cause.ADMISSION_DENIED: _admission,
    Cause.CLAIM_NOT_BOUND: _claim,
    Cause.JOB_FAILED: _job,
    Cause.HOOK_FAILED: _job,
    Cause.SERVICE_WITHOUT_ENDPOINTS: _service,
    Cause.LOAD_BALANCER_PENDING: _load_balancer,
    Cause.CONDITION_FALSE: _condition,
    Cause.CONTAINER_NOT_STARTED: _condition,
    Cause.CONTAINER_NOT_READY: _condition,
    Cause.POD_NOT_READY: _condition,
    Cause.POD_NOT_STARTED: _condition,
    Cause.POD_EVICTED: _condition,
    Cause.POD_FAILED: _condition,
    Cause.NAMESPACE_TERMINATING: _terminating,
    Cause.APPLICATION_PROBE_FAILED: _application_probe,
    Cause.APPLY_CONFLICT: _conflict,
    Cause.OWNED_BY_ANOTHER_RELEASE: _ownership,
    Cause.FIELD_IMMUTABLE: _immutable,
    Cause.OBJECT_INVALID: _invalid,
    Cause.ACCESS_DENIED: _access,
    Cause.API_VERSION_MISSING: _api_version,
    Cause.DEADLINE_EXCEEDED: _deadline,
}
