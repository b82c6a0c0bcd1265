"""The causes that keep a release from being ready, and a problem as one fact about one object. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from kubernaut.rollout.objects import ObjectKey

_LONGEST_MESSAGE = 400
_LONGEST_BRACES = 80
# What a container runtime and the kubelet wrap around the message that matters.
_WRAPPING = re.compile(
    r"Failed to pull image \S+: |Back-off pulling image \S+: |ErrImagePull: |ErrImageNeverPull: |rpc error: code = \w+ desc = "
    r"|failed to pull and unpack image \S+: |failed to resolve reference \S+: |Error response from daemon: "
    r"|failed to create containerd task: |failed to create shim task: |OCI runtime create failed: |runc create failed: "
    r"|failed to start container \S+: |unable to start container process: |Error: "
)


class Cause(StrEnum):
    """Why a release is not ready; the codes are public, in operations, the REST API and ``-o json``."""

    IMAGE_NOT_FOUND = "image_not_found"
    IMAGE_DENIED = "image_denied"
    IMAGE_NAME_INVALID = "image_name_invalid"
    IMAGE_PULL_FAILED = "image_pull_failed"
    CONTAINER_CRASHED = "container_crashed"
    CONTAINER_OUT_OF_MEMORY = "container_out_of_memory"
    CONTAINER_COMMAND_INVALID = "container_command_invalid"
    CONTAINER_CONFIG_INVALID = "container_config_invalid"
    CONTAINER_NOT_STARTED = "container_not_started"
    CONTAINER_NOT_READY = "container_not_ready"
    LIVENESS_PROBE_FAILED = "liveness_probe_failed"
    STARTUP_PROBE_FAILED = "startup_probe_failed"
    READINESS_PROBE_FAILED = "readiness_probe_failed"
    VOLUME_NOT_MOUNTED = "volume_not_mounted"
    POD_NOT_STARTED = "pod_not_started"
    POD_NOT_READY = "pod_not_ready"
    POD_UNSCHEDULABLE = "pod_unschedulable"
    POD_EVICTED = "pod_evicted"
    POD_FAILED = "pod_failed"
    QUOTA_EXCEEDED = "quota_exceeded"
    ADMISSION_DENIED = "admission_denied"
    PODS_NOT_CREATED = "pods_not_created"
    CLAIM_NOT_BOUND = "claim_not_bound"
    JOB_FAILED = "job_failed"
    HOOK_FAILED = "hook_failed"
    SERVICE_WITHOUT_ENDPOINTS = "service_without_endpoints"
    LOAD_BALANCER_PENDING = "load_balancer_pending"
    OBJECT_DELETED = "object_deleted"
    CONDITION_FALSE = "condition_false"
    NAMESPACE_TERMINATING = "namespace_terminating"
    APPLICATION_PROBE_FAILED = "application_probe_failed"
    APPLY_CONFLICT = "apply_conflict"
    OWNED_BY_ANOTHER_RELEASE = "owned_by_another_release"
    FIELD_IMMUTABLE = "field_immutable"
    OBJECT_INVALID = "object_invalid"
    NODE_PORT_TAKEN = "node_port_taken"
    ACCESS_DENIED = "access_denied"
    API_VERSION_MISSING = "api_version_missing"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    HELM_FAILED = "helm_failed"


CRASHES = frozenset(
    {Cause.CONTAINER_CRASHED, Cause.CONTAINER_OUT_OF_MEMORY, Cause.LIVENESS_PROBE_FAILED, Cause.STARTUP_PROBE_FAILED}
)
PULLS = frozenset({Cause.IMAGE_NOT_FOUND, Cause.IMAGE_DENIED, Cause.IMAGE_PULL_FAILED})


@dataclass(frozen=True)
class Problem:
    """One thing that keeps an object from being ready.

    Attributes:
        cause: Its kind.
        object: The object that has it: a pod, a workload, a claim, a Service.
        message: A sentence without its full stop.
        container: The container that has it, if one has.
        failures: How often it has happened, for causes that count tries.
        since: Since when, where the cluster says so.
        fatal: Whether waiting cannot help: the object itself has given up.
        passing: Whether only the deadline ends it: a Job has more tries, a pod is replaced, a node comes.
    """

    cause: Cause
    object: ObjectKey
    message: str
    container: str = ""
    failures: int = 1
    since: datetime | None = None
    fatal: bool = False
    passing: bool = False

    @property
    def identity(self) -> tuple[Cause, ObjectKey, str]:
        """The same for the same problem at a later time."""
        return self.cause, self.object, self.container


def without_walls(text: str) -> str:
    """Return a message with each long ``{…}``, such as a whole object that the API server repeats, cut to its braces."""
    found: list[str] = []
    depth = start = 0
    for at, character in enumerate(text):
        if character == "{":
            depth += 1
            if depth == 1:
                found.append(text[start:at])
                start = at
        elif character == "}" and depth:
            depth -= 1
            if depth == 0:
                inner = text[start : at + 1]
                found.append(inner if len(inner) <= _LONGEST_BRACES else "{…}")
                start = at + 1
    return "".join((*found, text[start:]))


def short(message: Any) -> str:
    """Return a cluster's message on one line, without wrapping, walls of values and its full stop."""
    text = _WRAPPING.sub("", without_walls(" ".join(str(message or "no message").split()))).rstrip(".")
    return text if len(text) <= _LONGEST_MESSAGE else text[: _LONGEST_MESSAGE - 1] + "…"
