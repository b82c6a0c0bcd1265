"""The measurements of race.py: deploys on the local platform, some of them killed, suspended or refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar
from unittest.mock import patch

import yaml
from measure import MeasurementFailed, kubernaut
from race_figures import MAX_UNTIL_FAILED, Cost, Killed, Race, Suspended

from kubernaut.adapters.helm import Helm
from kubernaut.adapters.kube import Cluster
from kubernaut.deploy.execute import execute
from kubernaut.deploy.execution import DeployContext
from kubernaut.deploy.lock.lease import Lock, lease_name
from kubernaut.deploy.requests import DeployRequest
from kubernaut.deploy.values.layers import read_values
from kubernaut.errors import ReleaseLocked
from kubernaut.events import Progress
from kubernaut.history.records import PENDING
from kubernaut.history.store import HistoryStore
from kubernaut.settings import load_settings

NAME, VERSION = "race", "0.1.0"
LOCK = "kubernaut.deploy.execute.hold"
WRITES = (
    "kubernaut.deploy.operation_writer.OperationWriter.begin",
    "kubernaut.deploy.execution.delete_expired",
)
TIMEOUT_SECONDS = 120.0
KILLED_PAUSE, SUSPENDED_PAUSE, RACE_PAUSE = 8, 90, 15
"""The duration of the hook in seconds, for a deploy that is killed, suspended, or part of a race."""

# A ConfigMap, and a pre-upgrade hook of a given duration.
TEMPLATE = """{{ if .Values.pause }}
apiVersion: v1
kind: Pod
metadata:
  name: {{ .Release.Name }}
  annotations: {helm.sh/hook: pre-upgrade, helm.sh/hook-delete-policy: before-hook-creation}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 0
  containers:
    - {name: pause, image: {{ .Values.image }}, command: [node, -e, "setTimeout(() => {}, {{ .Values.pause }} * 1000)"]}
---
{{ end }}
apiVersion: v1
kind: ConfigMap
metadata: {name: {{ .Release.Name }}}
data: {text: {{ .Values.text | quote }}}
"""
# `kubernaut deploy` accepts published charts only, which have these annotations.
PUBLISHED = {"kubernaut/image": f"localhost/race@sha256:{'0' * 64}", "kubernaut/source-digest": f"sha256:{'0' * 64}"}

T = TypeVar("T")


@dataclass(frozen=True)
class Sandbox:
    """A namespace, and a chart to deploy in it.

    Attributes:
        environment: The environment with which `helm` and `kubernaut` use the platform.
        folder: A folder for files.
        namespace: The namespace's name.
        digest: The chart's digest.
        programs: The programs that were started.
    """

    environment: Mapping[str, str]
    folder: Path
    namespace: str = ""
    digest: str = ""
    programs: list[Program] = field(default_factory=list)

    @classmethod
    def prepare(cls, environment: Mapping[str, str], folder: Path) -> Sandbox:
        """Push the chart; return a sandbox without a namespace."""
        chart = folder / NAME
        (chart / "templates").mkdir(parents=True)
        about = {"apiVersion": "v2", "name": NAME, "version": VERSION, "annotations": PUBLISHED}
        values = {"image": f"{environment['KUBERNAUT_REGISTRY']}/library/node:22", "text": "first", "pause": 0}
        (chart / "Chart.yaml").write_text(yaml.safe_dump(about))
        (chart / "values.yaml").write_text(yaml.safe_dump(values))
        (chart / "templates" / "all.yaml").write_text(TEMPLATE)
        registry = {"KUBERNAUT_REGISTRY": f"{environment['KUBERNAUT_REGISTRY']}/bench-race", "KUBERNAUT_ACTOR": "bench"}
        sandbox = cls({**environment, **registry}, folder)
        helm = sandbox.context().helm()
        return replace(sandbox, digest=helm.push(helm.package(chart, folder / "out"), sandbox.charts))

    @property
    def charts(self) -> str:
        """The chart registry."""
        return load_settings(environment=self.environment, directory=self.folder).require_chart_registry()

    @property
    def chart(self) -> str:
        """The reference of the chart, by digest."""
        return f"oci://{self.charts}/{NAME}@{self.digest}"

    @contextmanager
    def in_namespace(self) -> Iterator[Sandbox]:
        """Yield the sandbox with a new namespace and a first release in it; delete the namespace at the end."""
        sandbox = replace(self, namespace=f"bench-{uuid.uuid4().hex[:8]}", programs=[])
        cluster = sandbox.context().cluster()
        try:
            execute(sandbox.request("first"), context=sandbox.context())
            yield sandbox
        finally:
            for program in sandbox.programs:
                program.stop()
            cluster._api.json("DELETE", f"/api/v1/namespaces/{sandbox.namespace}")

    def context(self, actor: str = "bench") -> DeployContext:
        """Return a context, with its own connections, for a deploy in this process."""
        settings = load_settings(environment={**self.environment, "KUBERNAUT_ACTOR": actor}, directory=self.folder)
        known: dict[str, Any] = {"kubeconfig": settings.kubeconfig, "environment": settings.environment}
        helm = Helm(settings.helm, plain_http=settings.uses_plain_http, **known)
        cluster = Cluster(settings.kubeconfig)
        return DeployContext(lambda: helm, lambda: cluster, HistoryStore(cluster), settings, Progress())

    def request(self, text: str, *, name: str = NAME, pause: int = 0) -> DeployRequest:
        """Return the request to deploy a text."""
        values = read_values(sets=(f"text={text}", f"pause={pause}"))
        more: dict[str, Any] = {"values": values, "create_namespace": True, "timeout": TIMEOUT_SECONDS}
        return DeployRequest(self.namespace, name, VERSION, self.chart, self.digest, **more)

    def statuses(self, name: str = NAME) -> list[str]:
        """Return the statuses of the records, newest first."""
        cluster = self.context().cluster()
        try:
            return [record.status for record in HistoryStore(cluster).get(self.namespace, name).records]
        finally:
            cluster.close()

    def kubernaut(self, text: str, pause: int, *more: str) -> Program:
        """Start `kubernaut deploy`."""
        values = ("--set", f"text={text}", "--set", f"pause={pause}")
        return Program([kubernaut(), "deploy", f"{NAME}@{VERSION}", "-n", self.namespace, *values, "-o", "json", *more], self)

    def helm(self, text: str, pause: int) -> Program:
        """Start `helm upgrade`."""
        values = ("--namespace", self.namespace, "--set", f"text={text},pause={pause}", "--wait", "--plain-http")
        return Program(["helm", "upgrade", NAME, self.chart, *values], self)

    def wait_for_hook(self, program: Program) -> None:
        """Wait until the program's release is pending and the pod of its hook runs."""

        def in_hook() -> bool:
            if program.process.poll() is not None:
                raise MeasurementFailed(f"{program.command} ended before its hook ran.\n{program.all_output()}")
            return self.statuses()[0] in PENDING and bool(running())

        def running() -> list[Any]:
            pods = cluster.list_pods(self.namespace, {})
            return [pod for pod in pods if pod["status"].get("phase") == "Running" and "deletionTimestamp" not in pod["metadata"]]

        cluster = self.context().cluster()
        wait_until(in_hook, f"{program.command} runs its hook")


class Program:
    """A running program, with its output in files."""

    def __init__(self, command: Sequence[str], sandbox: Sandbox) -> None:
        self.command = " ".join(command)
        self._stdout, self._stderr = (sandbox.folder / f"{uuid.uuid4().hex}.{name}" for name in ("out", "err"))
        self._started = time.perf_counter()
        with self._stdout.open("wb") as stdout, self._stderr.open("wb") as stderr:
            files: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": stdout, "stderr": stderr}
            self.process = subprocess.Popen(command, cwd=sandbox.folder, env=dict(sandbox.environment), **files)
        sandbox.programs.append(self)

    def end(self) -> int:
        """Wait for its end; return its exit status. Raises: MeasurementFailed: It does not end in time."""
        try:
            return self.process.wait(TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired as expired:
            self.process.kill()
            raise MeasurementFailed(f"{self.command} did not end in time.\n{self.all_output()}") from expired

    def seconds(self) -> float:
        """Wait until it succeeds; return its duration in seconds. Raises: MeasurementFailed."""
        status = self.end()
        taken = time.perf_counter() - self._started
        if status:
            raise MeasurementFailed(f"{self.command}: exit status {status}\n{self.all_output()}")
        return taken

    def all_output(self) -> str:
        """Return its standard output and standard error."""
        return self.output() + self._stderr.read_text(errors="replace")

    def output(self) -> str:
        """Return its standard output."""
        return self._stdout.read_text(errors="replace")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the program and its descendants."""
        for pid in (self.process.pid, *descendants(self.process.pid)):
            with suppress(ProcessLookupError):  # it has just ended
                os.kill(pid, number)

    def stop(self) -> None:
        """Terminate it if it still runs after a failed measurement."""
        if self.process.poll() is None:
            self.signal(signal.SIGCONT)
            self.process.terminate()
            self.end()


def descendants(pid: int) -> list[int]:
    """Return the pids of a process's descendants."""
    found: list[int] = []
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, children.read_text().split()):
            found += [child, *descendants(child)]
    return found


def wait_until(condition: Callable[[], T], description: str, seconds: float = TIMEOUT_SECONDS) -> T:
    """Poll a condition; return its first true value. Raises: MeasurementFailed: It is not true in time."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise MeasurementFailed(f"Not within {seconds:.0f} s: {description}.")
        time.sleep(0.05)
    return value


def cost(sandbox: Sandbox, pairs: int) -> Cost:
    """Time a deploy with and without lock and operation, and by Helm, alternately, after a round that does not count."""
    context = sandbox.context()

    def locked(text: str) -> None:
        execute(sandbox.request(text, name="locked"), context=context)

    def unlocked(text: str) -> None:
        with without_lock():
            execute(sandbox.request(text, name="unlocked"), context=context)

    def helm(text: str) -> None:
        how: dict[str, Any] = {"namespace": sandbox.namespace, "timeout": TIMEOUT_SECONDS, "history_max": 50, "log": lambda _: None}
        values = {"text": text, "pause": 0}
        context.helm().upgrade("helm", sandbox.chart, install=True, values=values, labels={}, description="bench", **how)

    sides: list[tuple[Callable[[str], None], list[float]]] = [(locked, []), (unlocked, []), (helm, [])]
    for number in range(pairs + 1):
        for deploy, seconds in sides if number % 2 else (sides[1], sides[0], sides[2]):
            started = time.perf_counter()
            deploy(f"round {number}")
            if number:
                seconds.append(time.perf_counter() - started)
    return Cost(*(seconds for _, seconds in sides))


@contextmanager
def without_lock() -> Iterator[None]:
    """Deploy without a lock and without an operation during the block."""

    @contextmanager
    def hold(*_: Any, **__: Any) -> Iterator[SimpleNamespace]:
        yield SimpleNamespace(found=Lock(), check=lambda: None)

    def nothing(*_: Any, **__: Any) -> None:
        """Write nothing."""

    with ExitStack() as patched:
        patched.enter_context(patch(LOCK, hold))
        for name in WRITES:
            patched.enter_context(patch(name, nothing))
        yield


def kill(sandbox: Sandbox) -> Killed:
    """Kill a deploy while its hook runs, and run the same command again."""
    undisturbed = sandbox.kubernaut("undisturbed", KILLED_PAUSE).seconds()
    program = sandbox.kubernaut("killed", KILLED_PAUSE)
    sandbox.wait_for_hook(program)
    started = time.perf_counter()
    program.process.kill()
    wait_until(lambda: sandbox.statuses()[0] == "failed", "the release of the killed deploy is failed", KILLED_PAUSE)
    until_failed = time.perf_counter() - started
    program.end()
    again = sandbox.kubernaut("killed", KILLED_PAUSE).seconds()
    return Killed(until_failed, again, undisturbed, *_killed_helm(sandbox))


def _killed_helm(sandbox: Sandbox) -> tuple[str, int]:
    program = sandbox.helm("helm", KILLED_PAUSE)
    sandbox.wait_for_hook(program)
    program.process.kill()
    program.end()
    time.sleep(MAX_UNTIL_FAILED)
    return sandbox.statuses()[0], sandbox.helm("helm", KILLED_PAUSE).end()


def suspend(sandbox: Sandbox) -> Suspended:
    """Suspend a deploy and its Helm in the hook, let another deploy wait for the lock, and resume the first one."""
    cluster = sandbox.context().cluster()

    def holder() -> str | None:
        lease = cluster.get_lease(sandbox.namespace, lease_name(NAME))
        return str(lease["spec"]["holderIdentity"]) if lease else None

    first = sandbox.kubernaut("suspended", SUSPENDED_PAUSE)
    try:
        sandbox.wait_for_hook(first)
        before = holder()
        first.signal(signal.SIGSTOP)
        started = time.perf_counter()
        second = sandbox.kubernaut("second", 0, "--lock-timeout", "60s")
        wait_until(lambda: holder() not in (before, None), "another deploy has the lock of the suspended one")
        until_taken = time.perf_counter() - started
        second.seconds()
    finally:
        first.signal(signal.SIGCONT)
    started = time.perf_counter()
    status = first.end()
    until_ended = time.perf_counter() - started
    return Suspended(until_taken, status, _code(first), until_ended, sandbox.statuses().count("deployed"))


def _code(program: Program) -> str:
    try:
        return str(json.loads(program.output())["code"])
    except (ValueError, KeyError, TypeError):
        return "no error code"


def race(sandbox: Sandbox, deployers: int) -> Race:
    """Deploy the same name at the same time by several actors, and once more while the winner is running."""
    contexts = [sandbox.context(f"racer-{number:02}") for number in range(deployers + 1)]
    start = threading.Barrier(deployers)
    ended = threading.Semaphore(0)

    def attempt(context: DeployContext) -> tuple[float, ReleaseLocked | None]:
        started = time.perf_counter()
        try:
            execute(sandbox.request(context.settings.actor, pause=RACE_PAUSE), context=context)
        except ReleaseLocked as locked:
            return time.perf_counter() - started, locked
        return time.perf_counter() - started, None

    def racer(context: DeployContext) -> tuple[float, ReleaseLocked | None]:
        start.wait(TIMEOUT_SECONDS)
        try:
            return attempt(context)
        finally:
            ended.release()

    *racers, late = contexts
    with ThreadPoolExecutor(deployers) as pool:
        running = [pool.submit(racer, context) for context in racers]
        for _ in range(deployers - 1):
            ended.acquire(timeout=TIMEOUT_SECONDS)
        refused_alone, late_locked = attempt(late)
        results = [future.result() for future in running]
    winners = [context.settings.actor for context, (_, locked) in zip(racers, results, strict=True) if locked is None]
    if late_locked is None:
        raise MeasurementFailed("The winner of the race ended before the last deploy was refused.")
    losers = [(seconds, locked.message) for seconds, locked in results if locked is not None]
    refused = [seconds for seconds, message in losers if any(f"locked by {winner} " in message for winner in winners)]
    others = [message for _, message in losers if not any(f"locked by {winner} " in message for winner in winners)]
    return Race(len(winners), refused, others, refused_alone)
