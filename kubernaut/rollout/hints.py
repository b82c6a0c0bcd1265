"""The next step after a failure, as a command to paste or as a call of the REST API. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from kubernaut.history.explanation import Explanation
from kubernaut.rollout.hint_facts import KIND, LONGEST_NAME, Facts, Pair, same
from kubernaut.rollout.problems import Cause
from kubernaut.rollout.refusal_hints import REFUSAL_HINTS

_IMAGE = re.compile(r"[A-Za-z0-9][\w./:@-]*")


@dataclass(frozen=True)
class Hints:
    """The next step.

    Attributes:
        hint: For the command line.
        http_hint: For a program that uses the REST API: it names no command and no option.
    """

    hint: str
    http_hint: str


def hint_for(explanation: Explanation, namespace: str, name: str) -> Hints:
    """Return the next step.

    Args:
        explanation: Why the operation failed.
        namespace: The release's namespace.
        name: The release's name.
    """
    facts = Facts(explanation.facts, namespace, name)
    make, fixed = _HINTS.get(explanation.cause), _FIXED.get(explanation.cause)
    if fixed is not None:
        return Hints(*fixed)
    if make is None:
        return Hints(f"{facts.explain} shows the evidence.", f"{facts.explanation} shows the evidence.")
    return Hints(*make(facts))


# images


def _image_not_found(facts: Facts) -> Pair:
    image = facts.get("image")
    if facts.get("pullPolicy") == "Never":
        return same("Set imagePullPolicy to IfNotPresent in the chart's values, or load the image on each node, then deploy again.")
    check = f"`docker manifest inspect {image}`" if len(image) <= LONGEST_NAME and _IMAGE.fullmatch(image) else "The registry"
    advice = "Correct the image in the chart's values, or push it, then deploy again."
    return f"{check} shows whether the image exists. {advice}", advice


def _image_denied(facts: Facts) -> Pair:
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


def _image_pull(facts: Facts) -> Pair:
    advice = "Check that the cluster's nodes reach the registry, and that its certificate is valid for them"
    return f"{advice}; {_events(facts)} repeats the message.", f"{advice}."


# containers


def _events(facts: Facts) -> str:
    pod = facts.object_name("pod")
    return facts.describe("Pod", pod) if pod else facts.describe()


def _logs(facts: Facts) -> Pair:
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
        return same(f"{advice}; {kept}.")
    return f"{advice}; as long as its pod exists, {command} prints more of its output.", f"{advice}; `evidence` has its last lines."


def _memory(facts: Facts) -> Pair:
    limit = facts.get("limit")
    now = f" (now {limit})" if limit else ""
    return same(f"Raise resources.limits.memory of the container{now} in the chart's values, or make the program use less memory.")


def _command(facts: Facts) -> Pair:
    file = facts.get("command") or "the program"
    return same(
        f"Check that {file} is in the image, executable, and built for the node's architecture;"
        " `command` and `args` of the container replace ENTRYPOINT and CMD of the image."
    )


def _missing(facts: Facts) -> Pair:
    if "runAsNonRoot" in facts.get("reason"):
        return same(
            "Give the image a USER other than root, or set securityContext.runAsUser of the container to another user than 0."
        )
    kind, name, key = facts.get("missing"), facts.object_name("missingName"), facts.get("key")
    if not KIND.fullmatch(kind) or not name:
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


def _probe(facts: Facts) -> Pair:
    target = facts.get("path") or (f"port {facts.get('port')}" if facts.get("port") else "its command")
    check = f"Check that the program serves {target} within the probe's time"
    command = f"`kubernaut logs {facts.name} -n {facts.namespace}` prints its output."
    return f"{check}. {command}", f"{check}; `evidence` has its last lines."


# pods and the cluster


def _quota(facts: Facts) -> Pair:
    quota = facts.object_name("quota")
    advice = "Ask for less, delete what is not needed, or have the quota raised"
    if facts.get("needs"):
        advice = "Set these resources for each container in the chart's values"
    return f"{advice}; `kubectl describe quota{f' {quota}' if quota else ''} {facts.where}` shows it.", f"{advice}."


def _admission(facts: Facts) -> Pair:
    webhook, level = facts.get("webhook"), facts.get("podSecurity")
    if facts.get("deletes"):
        return _delete_refused(facts)
    if level:
        advice = f"Set the securityContext that the message names; the namespace enforces the Pod Security level {level}"
        return f"{advice}: `kubectl get namespace {facts.object_name('namespace') or facts.namespace} --show-labels`.", f"{advice}."
    if facts.get("unanswered"):
        advice = f"The webhook's own service does not run: repair it first, then deploy again ({webhook})."
        return f"{advice} `kubectl get validatingwebhookconfigurations,mutatingwebhookconfigurations` lists the webhooks.", advice
    return same("Change the object as the message demands, or have the rule changed, then deploy again.")


def _delete_refused(facts: Facts) -> Pair:
    mend = "Have the rule changed, or do what it demands"
    if facts.get("unanswered"):
        mend = f"The webhook's own service does not run: repair it ({facts.get('webhook')})"
    again = f"{mend}, then delete the release again"
    keep = f"To keep it instead, run `kubernaut unlock {facts.name} -n {facts.namespace}` and deploy it."
    return f"{again}: `kubernaut delete {facts.name} -n {facts.namespace}`. {keep}", f"{again}."


def _claim(facts: Facts) -> Pair:
    if facts.get("missing"):
        return _missing(facts)
    if facts.get("provisioner"):
        advice = f"Check that provisioner {facts.get('provisioner')} runs in the cluster"
        return f"{advice}; {facts.describe()} shows its events.", f"{advice}."
    advice = "Name an existing storage class in the chart's values, or have a default one set"
    return f"{advice}: `kubectl get storageclass` lists them.", f"{advice}."


def _job(facts: Facts) -> Pair:
    if facts.get("timedOut"):
        hook = facts.describe()
        return (
            f"{hook} shows what it waits for; allow more time with --timeout 10m if it is only slow.",
            "Allow more time with `timeout`, in seconds, if it is only slow; else correct it.",
        )
    if facts.get("reason") == "DeadlineExceeded":
        return same("Raise activeDeadlineSeconds of the Job in the chart's values, or make it faster, then deploy again.")
    return _logs(facts)


def _service(facts: Facts) -> Pair:
    name = facts.object_name("name")
    advice = "Make the selector of the Service equal to the labels of the pods"
    command = f"`kubectl get service {name} -o wide {facts.where}`" if name else facts.explain
    return f"{advice}: {command} shows the one, `kubectl get pods --show-labels {facts.where}` the others.", f"{advice}."


def _load_balancer(facts: Facts) -> Pair:
    advice = "This cluster needs a load balancer controller for it; without one, use type ClusterIP or NodePort"
    return f"{advice}. {facts.describe()} shows what it waits for.", f"{advice}."


def _condition(facts: Facts) -> Pair:
    return f"{_events(facts)} shows its conditions and events.", f"{facts.explanation} shows the evidence."


def _terminating(facts: Facts) -> Pair:
    namespace = facts.object_name("namespace") or facts.namespace
    return (
        f"Wait until it is gone (`kubectl get namespace {namespace}`), then deploy again with --create-namespace.",
        "Wait until it is gone, then send the request again with `createNamespace: true`.",
    )


def _application_probe(facts: Facts) -> Pair:
    advice = "Correct `probe` in kubernaut.yaml, or the program that should answer it"
    return f"{advice}; `kubernaut logs {facts.name} -n {facts.namespace}` prints its output.", f"{advice}."


def _deadline(facts: Facts) -> Pair:
    more = "Allow more time with {} if it is only slow"
    shown = f"{facts.describe()} shows what it waits for"
    late = "If it becomes ready later, the same deploy adopts it."
    return f"{more.format('--timeout 10m')}; {shown}. {late}", f"{more.format('`timeout`, in seconds,')}. {late}"


_FIXED: Mapping[str, Pair] = {
    Cause.IMAGE_NAME_INVALID: same(
        "Correct the image in the chart's values: REGISTRY/REPOSITORY:TAG or REGISTRY/REPOSITORY@DIGEST, in lower case."
    ),
    Cause.POD_UNSCHEDULABLE: (
        "Lower the resource requests, correct node selectors and tolerations, or add nodes; `kubectl describe nodes` shows what is"
        " free.",
        "Lower the resource requests, correct node selectors and tolerations, or add nodes.",
    ),
    Cause.OBJECT_DELETED: same("Find out what deletes it, then deploy again: that creates it anew."),
    Cause.NODE_PORT_TAKEN: (
        "Choose another nodePort, or leave it out, and the cluster chooses a free one. `kubectl get services -A` lists the ports in"
        " use.",
        "Choose another nodePort, or leave it out, and the cluster chooses a free one.",
    ),
}
_HINTS: Mapping[str, Callable[[Facts], Pair]] = {
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
    Cause.DEADLINE_EXCEEDED: _deadline,
    **REFUSAL_HINTS,
}
