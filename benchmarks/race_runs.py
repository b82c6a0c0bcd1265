"""What race.py runs: deploys on the local platform, some of them killed, silenced, or too late. Judges nothing."""

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
from measure import Failed, kubernaut
from race_figures import MOST_UNTIL_FAILED, Cost, Killed, Race, Silent

from kubernaut.adapters.helm import Helm
from kubernaut.adapters.kube import Cluster
from kubernaut.deploy.execute import execute
from kubernaut.deploy.execution import DeployContext
from kubernaut.deploy.lease import Lock, lease_name
from kubernaut.deploy.requests import DeployRequest
from kubernaut.deploy.values import read_values
from kubernaut.errors import ReleaseLocked
from kubernaut.events import Progress
from kubernaut.history.records import PENDING
from kubernaut.history.store import HistoryStore
from kubernaut.settings import load_settings

NAME, VERSION = "race", "0.1.0"
LOCK = "kubernaut.deploy.execute.hold"
WRITES = (
    "kubernaut.deploy.operations.create_operation",
    "kubernaut.deploy.operations.update_operation",
    "kubernaut.deploy.execution.delete_expired",
)
PATIENCE = 120.0
"""Seconds after which what should have happened is given up."""
SLOW, SILENT, WINNER = 8, 90, 15
"""Seconds that the hook takes: of a deploy that is killed, of one that is silenced, of one that others race with."""

# A ConfigMap, and before an upgrade a hook that takes as long as is wanted.
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
# The command deploys only what kubernaut has published.
PUBLISHED = {"kubernaut/image": f"localhost/race@sha256:{'0' * 64}", "kubernaut/source-digest": f"sha256:{'0' * 64}"}

T = TypeVar("T")


@dataclass(frozen=True)
class Place:
    """A namespace, and a chart to deploy there.

    Attributes:
        environment: In which `helm` and `kubernaut` find the platform.
        folder: For files; somebody else removes it.
        namespace: Its name.
        digest: Which chart.
        programs: What was started there.
    """

    environment: Mapping[str, str]
    folder: Path
    namespace: str = ""
    digest: str = ""
    programs: list[Program] = field(default_factory=list)

    @classmethod
    def prepare(cls, environment: Mapping[str, str], folder: Path) -> Place:
        """Push the chart."""
        chart = folder / NAME
        (chart / "templates").mkdir(parents=True)
        about = {"apiVersion": "v2", "name": NAME, "version": VERSION, "annotations": PUBLISHED}
        values = {"image": f"{environment['KUBERNAUT_REGISTRY']}/library/node:22", "text": "first", "pause": 0}
        (chart / "Chart.yaml").write_text(yaml.safe_dump(about))
        (chart / "values.yaml").write_text(yaml.safe_dump(values))
        (chart / "templates" / "all.yaml").write_text(TEMPLATE)
        registry = {"KUBERNAUT_REGISTRY": f"{environment['KUBERNAUT_REGISTRY']}/bench-race", "KUBERNAUT_ACTOR": "bench"}
        place = cls({**environment, **registry}, folder)
        helm = place.context().helm()
        return replace(place, digest=helm.push(helm.package(chart, folder / "out"), place.charts))

    @property
    def charts(self) -> str:
        """Where the chart is."""
        return load_settings(environment=self.environment, directory=self.folder).require_chart_registry()

    @property
    def chart(self) -> str:
        """The chart, by digest."""
        return f"oci://{self.charts}/{NAME}@{self.digest}"

    @contextmanager
    def namespaced(self) -> Iterator[Place]:
        """Give it a new namespace with the first release in it, and take the namespace away again."""
        place = replace(self, namespace=f"bench-{uuid.uuid4().hex[:8]}", programs=[])
        cluster = place.context().cluster()
        try:
            execute(place.wanted("first"), context=place.context())
            yield place
        finally:
            for program in place.programs:
                program.stop()
            cluster._json("DELETE", f"/api/v1/namespaces/{place.namespace}")

    def context(self, actor: str = "bench") -> DeployContext:
        """Return what a deploy in this process needs, with connections of its own."""
        settings = load_settings(environment={**self.environment, "KUBERNAUT_ACTOR": actor}, directory=self.folder)
        known: dict[str, Any] = {"kubeconfig": settings.kubeconfig, "environment": settings.environment}
        helm = Helm(settings.helm, plain_http=settings.uses_plain_http, **known)
        cluster = Cluster(settings.kubeconfig)
        return DeployContext(lambda: helm, lambda: cluster, HistoryStore(cluster), settings, Progress())

    def wanted(self, text: str, *, name: str = NAME, pause: int = 0) -> DeployRequest:
        """Return a deploy of a value."""
        wish = read_values(sets=(f"text={text}", f"pause={pause}"))
        more: dict[str, Any] = {"values": wish, "create_namespace": True, "timeout": PATIENCE}
        return DeployRequest(self.namespace, name, VERSION, self.chart, self.digest, **more)

    def statuses(self, name: str = NAME) -> list[str]:
        """Return the statuses of the records, newest first."""
        cluster = self.context().cluster()
        try:
            return [record.status for record in HistoryStore(cluster).get(self.namespace, name).records]
        finally:
            cluster.close()

    # programs

    def kubernaut(self, text: str, pause: int, *more: str) -> Program:
        """Start `kubernaut deploy`."""
        values = ("--set", f"text={text}", "--set", f"pause={pause}")
        return Program([kubernaut(), "deploy", f"{NAME}@{VERSION}", "-n", self.namespace, *values, "-o", "json", *more], self)

    def helm(self, text: str, pause: int) -> Program:
        """Start plain `helm upgrade`."""
        values = ("--namespace", self.namespace, "--set", f"text={text},pause={pause}", "--wait", "--plain-http")
        return Program(["helm", "upgrade", NAME, self.chart, *values], self)

    def until_in_the_hook(self, program: Program) -> None:
        """Wait until a program's release is pending, and its hook's pod is there."""

        def there() -> bool:
            if program.process.poll() is not None:
                raise Failed(f"{program.words} ended before its time.\n{program.said()}")
            return self.statuses()[0] in PENDING and bool(running())

        def running() -> list[Any]:
            pods = cluster.list_pods(self.namespace, {})
            return [pod for pod in pods if pod["status"].get("phase") == "Running" and "deletionTimestamp" not in pod["metadata"]]

        cluster = self.context().cluster()
        until(there, f"{program.words}: it is in its hook")


class Program:
    """A program that runs, and says what it has to say into files."""

    def __init__(self, command: Sequence[str], place: Place) -> None:
        self.words = " ".join(command)
        self._stdout, self._stderr = (place.folder / f"{uuid.uuid4().hex}.{name}" for name in ("out", "err"))
        self._started = time.perf_counter()
        with self._stdout.open("wb") as stdout, self._stderr.open("wb") as stderr:
            files: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": stdout, "stderr": stderr}
            self.process = subprocess.Popen(command, cwd=place.folder, env=dict(place.environment), **files)
        place.programs.append(self)

    def end(self) -> int:
        """Wait for its end; return its exit status."""
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired as expired:
            self.process.kill()
            raise Failed(f"{self.words} does not end.\n{self.said()}") from expired

    def seconds(self) -> float:
        """Wait for its good end; return how long it took. Raises: Failed."""
        status = self.end()
        taken = time.perf_counter() - self._started
        if status:
            raise Failed(f"{self.words}: exit status {status}\n{self.said()}")
        return taken

    def said(self) -> str:
        """Return all that it has said."""
        return self.output() + self._stderr.read_text(errors="replace")

    def output(self) -> str:
        """Return its standard output."""
        return self._stdout.read_text(errors="replace")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to it and to what it has started."""
        for pid in (self.process.pid, *_descendants(self.process.pid)):
            with suppress(ProcessLookupError):  # it has just ended
                os.kill(pid, number)

    def stop(self) -> None:
        """End it, if the measurement broke off before its end."""
        if self.process.poll() is None:
            self.signal(signal.SIGCONT)
            self.process.terminate()
            self.end()


def _descendants(pid: int) -> list[int]:
    """Return what a process has started, and what that has."""
    found: list[int] = []
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, children.read_text().split()):
            found += [child, *_descendants(child)]
    return found


def until(look: Callable[[], T], what: str, seconds: float = PATIENCE) -> T:
    """Look until there is something to see; return it. Raises: Failed."""
    deadline = time.monotonic() + seconds
    while not (seen := look()):
        if time.monotonic() > deadline:
            raise Failed(f"It did not happen in {seconds:.0f} s: {what}.")
        time.sleep(0.05)
    return seen


# the measurements


def cost(place: Place, pairs: int) -> Cost:
    """Time the same deploy with and without lock and operation, and by plain Helm, in turns; the first round does not count."""
    context = place.context()

    def safe(text: str) -> None:
        execute(place.wanted(text, name="safe"), context=context)

    def bare(text: str) -> None:
        with _nothing_locked():
            execute(place.wanted(text, name="bare"), context=context)

    def helm(text: str) -> None:
        how: dict[str, Any] = {"namespace": place.namespace, "timeout": PATIENCE, "history_max": 50, "log": lambda _: None}
        values = {"text": text, "pause": 0}
        context.helm().upgrade("helm", place.chart, install=True, values=values, labels={}, description="bench", **how)

    sides: list[tuple[Callable[[str], None], list[float]]] = [(safe, []), (bare, []), (helm, [])]
    for number in range(pairs + 1):
        for deploy, taken in sides if number % 2 else (sides[1], sides[0], sides[2]):
            started = time.perf_counter()
            deploy(f"round {number}")
            if number:
                taken.append(time.perf_counter() - started)
    return Cost(*(taken for _, taken in sides))


@contextmanager
def _nothing_locked() -> Iterator[None]:
    """Let this process deploy without a lock and without an operation."""

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


def killed(place: Place) -> Killed:
    """Kill a kubernaut in its hook, and let the same command run again."""
    undisturbed = place.kubernaut("undisturbed", SLOW).seconds()
    program = place.kubernaut("killed", SLOW)
    place.until_in_the_hook(program)
    started = time.perf_counter()
    program.process.kill()
    until(lambda: place.statuses()[0] == "failed", "the killed kubernaut's release is failed", SLOW)
    until_failed = time.perf_counter() - started
    program.end()
    again = place.kubernaut("killed", SLOW).seconds()
    return Killed(until_failed, again, undisturbed, *_killed_helm(place))


def _killed_helm(place: Place) -> tuple[str, int]:
    program = place.helm("helm", SLOW)
    place.until_in_the_hook(program)
    program.process.kill()
    program.end()
    time.sleep(MOST_UNTIL_FAILED)
    return place.statuses()[0], place.helm("helm", SLOW).end()


def silent(place: Place) -> Silent:
    """Let a holder and its Helm stand still in the hook, let another one wait for the lock, then let the first go on."""
    cluster = place.context().cluster()

    def holder() -> str | None:
        lease = cluster.get_lease(place.namespace, lease_name(NAME))
        return str(lease["spec"]["holderIdentity"]) if lease else None

    first = place.kubernaut("silent", SILENT)
    try:
        place.until_in_the_hook(first)
        before = holder()
        first.signal(signal.SIGSTOP)
        started = time.perf_counter()
        second = place.kubernaut("second", 0, "--lock-timeout", "60s")
        until(lambda: holder() not in (before, None), "another one has the silent holder's lock")
        until_taken = time.perf_counter() - started
        second.seconds()
    finally:
        first.signal(signal.SIGCONT)
    started = time.perf_counter()
    status = first.end()
    until_ended = time.perf_counter() - started
    return Silent(until_taken, status, _code(first), until_ended, place.statuses().count("deployed"))


def _code(program: Program) -> str:
    try:
        return str(json.loads(program.output())["code"])
    except (ValueError, KeyError, TypeError):
        return "no problem told"


def race(place: Place, deployers: int) -> Race:
    """Let many deploy the same name at the same time, each as somebody else; and one more while the winner is at work."""
    everybody = [place.context(f"racer-{number:02}") for number in range(deployers + 1)]
    start = threading.Barrier(deployers)
    told = threading.Semaphore(0)

    def attempt(context: DeployContext) -> tuple[float, ReleaseLocked | None]:
        started = time.perf_counter()
        try:
            execute(place.wanted(context.settings.actor, pause=WINNER), context=context)
        except ReleaseLocked as locked:
            return time.perf_counter() - started, locked
        return time.perf_counter() - started, None

    def racer(context: DeployContext) -> tuple[float, ReleaseLocked | None]:
        start.wait(PATIENCE)
        try:
            return attempt(context)
        finally:
            told.release()

    *racers, late = everybody
    with ThreadPoolExecutor(deployers) as pool:
        running = [pool.submit(racer, context) for context in racers]
        for _ in range(deployers - 1):
            told.acquire(timeout=PATIENCE)
        alone, late_locked = attempt(late)
        ended = [future.result() for future in running]
    winners = [context.settings.actor for context, (_, locked) in zip(racers, ended, strict=True) if locked is None]
    if late_locked is None:
        raise Failed("The winner of the race had ended before the last one was told.")
    losers = [(seconds, locked.message) for seconds, locked in ended if locked is not None]
    named = [seconds for seconds, message in losers if any(f"locked by {winner} " in message for winner in winners)]
    others = [message for _, message in losers if not any(f"locked by {winner} " in message for winner in winners)]
    return Race(len(winners), named, others, alone)
