"""The measurements of rollout.py: deploys that fail or succeed on the local platform, and when the cluster knows it."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from measure import MeasurementFailed, kubernaut
from rollout_figures import Failure

from kubernaut.adapters.helm import Helm
from kubernaut.adapters.kube import Cluster
from kubernaut.adapters.kube_resources import EVENTS, RESOURCES
from kubernaut.settings import load_settings

sys.path.append(str(Path(__file__).parents[1] / "tests"))  # the failing charts are those of the tests

from support.rollout_cases import FAILING, deployment

NAME, VERSION = "web", "0.1.0"
TIMEOUT_SECONDS = 90
REPLICAS = 3
SCRIPT = "require('http').createServer((q,r)=>r.end('{}')).listen(8080)"
SHOWN: Mapping[str, tuple[str, ...]] = {
    "image missing": ("image not found",),
    "image name invalid": ("invalid image name",),
    "second container crashes": ("crashing", "ended with", "crashed"),
    "command missing": ("command cannot be run",),
    "ConfigMap missing": ("configuration missing",),
    "Secret of a volume missing": ("configuration missing", "waiting for a volume"),
    "out of memory": ("out of memory",),
    "no node fits": ("no node fits",),
    "Job fails": ("failed", "no table"),
    "bare pod without image": ("image not found",),
    "second pod of a StatefulSet crashes": ("crashing",),
    "hook fails": ("failed", "cannot migrate"),
}
"""The failing charts of the tests that are measured, each with words of which one is on the line that shows the cause."""

SERVICE = f"""apiVersion: v1
kind: Service
metadata: {{name: {NAME}}}
spec: {{selector: {{app: {NAME}}}, ports: [{{port: 80, targetPort: 8080}}]}}
"""
# `kubernaut deploy` accepts published charts only, which have these annotations.
PUBLISHED = {"kubernaut/image": f"localhost/web@sha256:{'0' * 64}", "kubernaut/source-digest": f"sha256:{'0' * 64}"}
STARTING = ("", "ContainerCreating", "PodInitializing")


@dataclass(frozen=True)
class Chart:
    """A chart in the registry, and the environment in which it is deployed."""

    environment: Mapping[str, str]
    folder: Path
    ref: str

    @classmethod
    def push(cls, environment: Mapping[str, str], folder: Path, template: str, annotations: Mapping[str, str]) -> Chart:
        """Push a chart with a template to a separate repository."""
        folder = folder / uuid.uuid4().hex
        (folder / NAME / "templates").mkdir(parents=True)
        about = {"apiVersion": "v2", "name": NAME, "version": VERSION, "annotations": {**PUBLISHED, **annotations}}
        values = {"image": f"{environment['KUBERNAUT_REGISTRY']}/library/node:22", "script": SCRIPT.format("first")}
        (folder / NAME / "Chart.yaml").write_text(yaml.safe_dump(about))
        (folder / NAME / "values.yaml").write_text(yaml.safe_dump(values))
        (folder / NAME / "templates" / "all.yaml").write_text(template)
        registry = f"{environment['KUBERNAUT_REGISTRY']}/bench-rollout/{folder.name}"
        environment = {**environment, "KUBERNAUT_REGISTRY": registry, "KUBERNAUT_ACTOR": "bench"}
        settings = load_settings(environment=environment, directory=folder)
        known: dict[str, Any] = {"kubeconfig": settings.kubeconfig, "environment": settings.environment}
        helm = Helm(settings.helm, plain_http=settings.uses_plain_http, **known)
        charts = settings.require_chart_registry()
        digest = helm.push(helm.package(folder / NAME, folder / "out"), charts)
        return cls(environment, folder, f"oci://{charts}/{NAME}@{digest}")

    def deploy(self, namespace: str, *more: str) -> Screen:
        """Start `kubernaut deploy`."""
        command = [kubernaut(), "deploy", f"{NAME}@{VERSION}", "-n", namespace, "--create-namespace", "--on-failure", "keep"]
        return Screen([*command, "--timeout", f"{TIMEOUT_SECONDS}s", *more], self)

    def helm(self, namespace: str) -> Screen:
        """Start `helm upgrade --wait`."""
        command = ["helm", "upgrade", NAME, self.ref, "--install", "--namespace", namespace, "--create-namespace"]
        return Screen([*command, "--wait", "--wait-for-jobs", "--timeout", f"{TIMEOUT_SECONDS}s", "--plain-http"], self)


class Screen:
    """A running program, and when it printed each line, in seconds since its start."""

    def __init__(self, command: Sequence[str], chart: Chart) -> None:
        self.lines: list[tuple[float, str]] = []
        self.ended = 0.0
        self.started = time.perf_counter()
        environment, pipe = dict(chart.environment), subprocess.PIPE
        self._process = subprocess.Popen(
            command,
            cwd=chart.folder,
            env=environment,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            stdout=pipe,
            stderr=subprocess.STDOUT,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append((time.perf_counter() - self.started, line))
        self.ended = time.perf_counter() - self.started

    def is_running(self) -> bool:
        """Return whether it still runs."""
        return self._reader.is_alive()

    def end(self) -> int:
        """Wait for its end; return its exit status."""
        self._reader.join(2 * TIMEOUT_SECONDS)
        if self.is_running():
            self._process.kill()
            raise MeasurementFailed(f"A deploy did not end in time.\n{self.text}")
        return self._process.wait()

    @property
    def text(self) -> str:
        """All that it printed."""
        return "".join(line for _, line in self.lines)

    def shown(self, words: Sequence[str]) -> float:
        """Return when the first line with one of the words was printed. Raises: MeasurementFailed."""
        for at, line in self.lines:
            if any(word in line for word in words):
                return at
        raise MeasurementFailed(f"None of {', '.join(words)} was printed.\n{self.text}")


@contextmanager
def namespace(cluster: Cluster) -> Iterator[str]:
    """Yield the name of a namespace for a deploy; delete it at the end."""
    name = f"bench-{uuid.uuid4().hex[:8]}"
    try:
        yield name
    finally:
        cluster._api.json("DELETE", f"/api/v1/namespaces/{name}")


def fail(environment: Mapping[str, str], folder: Path, case: str, runs: int) -> list[Failure]:
    """Deploy a failing chart several times, and once with Helm."""
    failing = FAILING[case]
    chart = Chart.push(environment, folder, failing.template, yaml.safe_load(failing.annotations or "{}"))
    cluster = Cluster(load_settings(environment=environment, directory=folder).kubeconfig)
    try:
        with namespace(cluster) as place:
            helm = chart.helm(place)
            found = [_fail(chart, cluster, case) for _ in range(runs)]
            status = helm.end()
        return [replace(run, helm=helm.ended, helm_status=status) for run in found]
    finally:
        cluster.close()


def _fail(chart: Chart, cluster: Cluster, case: str) -> Failure:
    with namespace(cluster) as place:
        screen = chart.deploy(place)
        known = _first(screen, lambda: has_cause(cluster, place))
        status = screen.end()
        if status != 7:
            raise MeasurementFailed(f"{case}: exit status {status}\n{screen.text}")
        return Failure(known, screen.shown(SHOWN[case]), screen.ended)


def _first(screen: Screen, condition: Callable[[], bool]) -> float:
    """Return when a condition was true first while a program runs, in seconds since the program's start."""
    while screen.is_running():
        if condition():
            return time.perf_counter() - screen.started
        time.sleep(0.1)
    raise MeasurementFailed(f"The cluster does not show why this failed.\n{screen.text}")


def has_cause(cluster: Cluster, place: str) -> bool:
    """Return whether the API server shows a failure: in a pod's state, a Job's condition or a warning."""
    pods = cluster.list_pods(place, {})
    if any(_is_bad(container) for pod in pods for container in _containers(pod)):
        return True
    jobs = cluster.list_objects(RESOURCES["Job"], place).items
    ended = [condition for job in jobs for condition in job.get("status", {}).get("conditions", ())]
    if any(condition["type"] == "Failed" and condition["status"] == "True" for condition in ended):
        return True
    return any(event.get("type") == "Warning" for event in cluster.list_objects(EVENTS, place).items)


def _containers(pod: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for kind in ("initContainerStatuses", "containerStatuses"):
        yield from pod.get("status", {}).get(kind, ())


def _is_bad(container: Mapping[str, Any]) -> bool:
    state, last = container.get("state", {}), container.get("lastState", {})
    ended = [part.get("terminated", {}).get("exitCode", 0) for part in (state, last)]
    return any(ended) or state.get("waiting", {}).get("reason", "") not in STARTING


def succeed(environment: Mapping[str, str], folder: Path, runs: int) -> tuple[list[float], list[bool]]:
    """Deploy new versions; return the seconds from the last ready pod to the end, and whether the Service answered with it."""
    chart = Chart.push(environment, folder, deployment(replicas=REPLICAS) + SERVICE, {})
    cluster = Cluster(load_settings(environment=environment, directory=folder).kubeconfig)
    done, answered = [], []
    try:
        with namespace(cluster) as place:
            for number in range(runs + 1):
                screen = chart.deploy(place, "--set", f"script={SCRIPT.format(number).replace(',', chr(92) + ',')}")
                ready = _first(screen, lambda number=number: ready_pods(cluster, place, str(number)) == REPLICAS)  # type: ignore[misc]
                if screen.end():
                    raise MeasurementFailed(screen.text)
                answer = cluster.get_through_service(place, NAME, 80, "/", timeout=5.0)
                if number:  # the first one pulls the image
                    done.append(screen.ended - ready)
                    answered.append(answer == (200, str(number)))
        return done, answered
    finally:
        cluster.close()


def ready_pods(cluster: Cluster, place: str, text: str) -> int:
    """Return how many pods that answer with a text are ready."""
    pods = [pod for pod in cluster.list_pods(place, {}) if f"'{text}'" in str(pod["spec"]["containers"][0].get("command"))]
    conditions = [condition for pod in pods for condition in pod.get("status", {}).get("conditions", ())]
    return sum(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)
