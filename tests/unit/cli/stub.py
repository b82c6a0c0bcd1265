"""A stub of Kubernaut that records its calls and returns fixed results, for tests of the command line.

Run as a program it is the command `kubernaut` with that stub; the variable STUB selects its behaviour.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kubernaut.ci import CiBuild
from kubernaut.events import Listener, Progress
from kubernaut.history.releases import Release, ReleaseChart, ReleaseImage, ReleaseList, ReleaseSource
from kubernaut.interface import Built, Deployed, Published
from kubernaut.models import Action, Plan
from kubernaut.settings import Settings

if TYPE_CHECKING:
    from kubernaut.history.detail import Difference
    from kubernaut.history.explain import ReleaseExplanation
    from kubernaut.publish.version import PublishedVersion, PublishedVersions

DIGEST = "sha256:" + "ab" * 32
COMMIT = "31fba06c0ffee31fba06c0ffee31fba06c0ffee0"
MOMENT = datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC)
PLAN = Plan(
    actions=(
        Action(kind="push-chart", subject="hello-world:1.4.2", reason="the registry does not have it"),
        Action(kind="helm-upgrade", subject="demo/hello-world", reason="the chart's digest differs"),
    )
)


def release(**changes: Any) -> Release:
    """Return a release of hello-world in demo, with changed fields."""
    facts: dict[str, Any] = {
        "id": "demo.hello-world.v3",
        "uid": "0f7c1e0c-9d0e-4a53-b3f4-5d3a3a0c6c11",
        "namespace": "demo",
        "name": "hello-world",
        "revision": 3,
        "status": "deployed",
        "active": True,
        "serving": 3,
        "managed_by": "kubernaut",
        "chart": ReleaseChart(name="hello-world", version="1.4.2", ref="oci://127.0.0.1:5000/charts/hello-world", digest=DIGEST),
        "app_version": "1.4.2",
        "images": (ReleaseImage(ref=f"127.0.0.1:5000/hello-world@{DIGEST}", digest=DIGEST),),
        "source": ReleaseSource(commit=COMMIT, repository="https://example.com/hello.git"),
        "build": CiBuild(url="https://ci.example.com/job/7"),
        "created_by": "ada@workshop",
        "note": "new greeting",
        "created_at": MOMENT,
        "updated_at": MOMENT,
        "deleted_at": None,
        "description": '1.4.2 (31fba06) by ada: "new greeting"',
        "outcome": None,
        "operation": "op-1",
    }
    return Release(**{**facts, **changes})


def foreign() -> Release:
    """Return a release made by plain Helm, of which most facts are unknown."""
    return release(
        id="tools.nginx.v1",
        namespace="tools",
        name="nginx",
        revision=1,
        serving=1,
        managed_by="helm",
        chart=ReleaseChart(
            name="nginx",
            version="18.1.0",
        ),
        app_version=None,
        images=(),
        source=ReleaseSource(),
        build=CiBuild(),
        created_by=None,
        note=None,
        created_at=None,
        description="Install complete",
        operation=None,
    )


def version(number: str = "1.4.2") -> PublishedVersion:
    """Return a published version."""
    from kubernaut.publish.version import Artefact, PublishedVersion, SourceOfVersion

    return PublishedVersion(
        name="hello-world",
        version=number,
        chart=Artefact(ref=f"127.0.0.1:5000/charts/hello-world:{number}", digest=DIGEST),
        image=Artefact(ref=f"127.0.0.1:5000/hello-world:{number}", digest=DIGEST),
        source_digest=DIGEST,
        source=SourceOfVersion(commit=COMMIT, repository=None),
        created_at=MOMENT,
        build=CiBuild(url="https://ci.example.com/job/6"),
        environments=("production",),
    )


def published(*versions: PublishedVersion, foreign: Iterable[str] = ()) -> PublishedVersions:
    """Return published versions, and the charts beside them."""
    from kubernaut.publish.version import PublishedVersions

    return PublishedVersions(versions, foreign=foreign)


def difference() -> Difference:
    """Return the difference between two releases; it includes a secret."""
    from kubernaut.history.detail import AppVersionChange, ChartChange, Difference, ImagesChange, ValueChange

    old, new = (ReleaseChart(name="hello-world", version=number, digest=DIGEST) for number in ("1.4.1", "1.4.2"))
    return Difference(
        from_="demo.hello-world.v2",
        to="demo.hello-world.v3",
        chart=ChartChange(from_=old, to=new),
        app_version=AppVersionChange(from_=None, to="1.4.2"),
        images=ImagesChange(from_=(), to=(ReleaseImage(ref=f"r/hello-world@{DIGEST}", digest=DIGEST),)),
        values=(
            ValueChange(path="greeting", change="changed", from_="hi", to="hello"),
            ValueChange(path="db.password", change="changed", from_="***", to="*** (changed)"),
            ValueChange(path="replicas", change="added", to=2),
            ValueChange(path="old", change="removed", from_=[1, {"a": None}]),
        ),
        manifest=(
            "--- demo.hello-world.v2/Secret/db\n+++ demo.hello-world.v3/Secret/db\n@@ -1,3 +1,3 @@\n kind: Secret\n data:\n"
            "-  password: '***'\n+  password: '***' # changed\n"
        ),
    )


def explanation(**changes: Any) -> ReleaseExplanation:
    """Return the explanation of a failed release of hello-world in demo, with changed fields."""
    from support.records import EVIDENCE, SENTENCE

    from kubernaut.history.explain import ReleaseExplanation

    facts: dict[str, Any] = {
        "id": "demo.hello-world.v3",
        "namespace": "demo",
        "name": "hello-world",
        "verb": "deploy",
        "state": "failed",
        "reason": "deploy_failed",
        "cause": "image_not_found",
        "sentence": SENTENCE,
        "evidence": EVIDENCE,
        "operation": "op-1",
        "at": MOMENT,
    }
    return ReleaseExplanation(**{**facts, **changes})


def built() -> Built:
    """Return the result of a build."""
    from kubernaut.publish.pipeline import BuiltImage

    return Built(
        PLAN, True, BuiltImage(name="hello-world", version="1.4.2", ref="hello-world:1.4.2", id=DIGEST, source_digest=DIGEST)
    )


class Answers(dict[str, Any]):
    """The answer of each verb, made when it is first read: a process imports only what its verb returns, as kubernaut does."""

    def __missing__(self, verb: str) -> Any:
        self[verb] = DEFAULT_ANSWERS[verb]()
        return self[verb]


DEFAULT_ANSWERS: dict[str, Callable[[], Any]] = {
    "build": built,
    "publish": lambda: Published(PLAN, True, version()),
    **dict.fromkeys(("deploy", "ship", "rollback", "restore", "unlock", "watch"), lambda: Deployed(PLAN, True, release())),
    "delete": lambda: Deployed(PLAN, True, release(status="uninstalled", active=False, deleted_at=MOMENT)),
    "list": lambda: ReleaseList(items=(release(), foreign()), count=2),
    "history": lambda: ReleaseList(items=(release(), release(id="demo.hello-world.v2", revision=2, status="superseded")), count=2),
    "show": release,
    "explain": explanation,
    "diff": difference,
    "logs": lambda: ["hello-0 listening", "hello-0 GET /"],
    "versions": lambda: published(version(), version("1.4.1")),
}


class StubKubernaut:
    """Returns for each verb the answer of that name, and records the calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        self.settings: Settings | None = None
        self.listener: Listener | None = None
        self.answers = Answers()

    def __getattr__(self, verb: str) -> Callable[..., Any]:
        if verb.startswith("_"):
            raise AttributeError(verb)

        def answer(*args: Any, **kwargs: Any) -> Any:
            self.calls.append((verb, args, kwargs))
            value = self.answers[verb]
            if isinstance(value, BaseException):
                raise value
            return value(self) if callable(value) else value

        return answer

    def open(self, settings: Settings, listener: Listener) -> StubKubernaut:
        """Stand in for `kubernaut.cli.session.open_kubernaut`."""
        self.settings, self.listener = settings, listener
        return self


def steps(stub: StubKubernaut) -> Deployed:
    """Report three steps, as ship does."""
    assert stub.listener is not None
    progress = Progress(stub.listener)
    with progress.step("build", "examples/hello-world") as step:
        step.log("Step 1/2 : FROM node")
        step.log("GREETING password=hunter22")
        step.done("hello-world:1.4.2")
    with progress.step("push", "127.0.0.1:5000/hello-world:1.4.2") as step:
        step.unchanged("the registry has it")
    with progress.step("deploy", "demo/hello-world") as step:
        step.done("revision 3")
    return Deployed(PLAN, True, release())


def plan_in_step(stub: StubKubernaut) -> Deployed:
    """Report one step that a dry run has planned."""
    assert stub.listener is not None
    with Progress(stub.listener).step("deploy", "demo/hello-world") as step:
        step.planned(f"dry run: {PLAN.summary}")
    return Deployed(PLAN, False, None)


def wait_in_step(stub: StubKubernaut) -> Deployed:
    """Wait in a step for a signal, and clean up."""
    assert stub.listener is not None
    with Progress(stub.listener).step("build", "examples/hello-world") as step, _wakeups() as wakeups:
        try:
            step.log("waiting for a signal")
            while True:
                select.select([wakeups], [], [])
        finally:
            sys.stderr.write("cleaned up\n")


def watch_failing(stub: StubKubernaut) -> Deployed:
    """Report a deploy that fails and is rolled back, as watch does; on a terminal wait for a key meanwhile."""
    from kubernaut.errors import DeployRolledBack

    assert stub.listener is not None
    with Progress(stub.listener).step("deploy", "hello-world 1.4.2 to demo") as step:
        step.notice("Operation 01m0000000000000000000zzzz by eve since 12:03:11 UTC.")
        step.workload("Deployment web", "2 of 3 ready · web-7f9-x2 pulling image", ready=False)
        if os.isatty(0):
            os.read(0, 1)
        step.workload("Deployment web", "3 of 3 ready", ready=True)
        raise DeployRolledBack("hello-world 1.4.2 to demo failed. v3 runs again as v5.", details=["pod web-7f9-x2: crashed"])


@contextmanager
def _wakeups() -> Iterator[socket.socket]:
    """Yield a socket that is readable after a signal; unlike pause(), select() on it does not miss an earlier signal."""
    wakeups, waker = socket.socketpair()
    waker.setblocking(False)
    with wakeups, waker:
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        try:
            yield wakeups
        finally:
            signal.set_wakeup_fd(-1)


def clean_up_slowly(stub: StubKubernaut) -> Deployed:
    """Deploy until a signal comes; then start a program, wait for a byte on stdin, and record both in a file."""
    assert stub.listener is not None
    notes = Path(os.environ["STUB_NOTES"])
    with Progress(stub.listener).step("deploy", "demo/hello-world") as step, _wakeups() as wakeups:
        try:
            step.log("waiting for a signal")
            while True:
                select.select([wakeups], [], [])
        except BaseException as stopped:
            with suppress(OSError):  # a terminal that is gone
                os.read(0, 1)
            status = subprocess.run(["cat", "/proc/self/status"], capture_output=True, text=True, check=False)
            step.log("the program has ended")
            notes.write_text(f"{status.stdout}{type(stopped).__name__} cleaned up\n")
            raise


class _Signals:
    """Sends a signal from its finalizer."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGTERM)


def finalise(stub: StubKubernaut) -> Deployed:
    """Receive a signal in a finalizer, which cannot raise; then wait for a signal."""
    _Signals()
    return wait_in_step(stub)


def swallow(stub: StubKubernaut) -> Deployed:
    """Receive a signal in code that drops every exception; then wait for a signal."""
    with suppress(BaseException):
        signal.raise_signal(signal.SIGTERM)
    return wait_in_step(stub)


class _AtShutdown:
    """Sends a signal while the interpreter shuts down."""

    def __init__(self, number: int) -> None:
        self._number = number

    def __del__(self, kill: Callable[[int, int], None] = os.kill, pid: int = os.getpid()) -> None:
        kill(pid, self._number)


_kept: list[_AtShutdown] = []


def signal_at_shutdown(stub: StubKubernaut) -> Deployed:
    """Wait for a signal; send another one when the interpreter shuts down."""
    _kept.append(_AtShutdown(int(os.environ["STUB_SIGNAL"])))
    return wait_in_step(stub)


def endless(_stub: StubKubernaut) -> Iterator[str]:
    """Yield lines without end."""
    while True:
        yield "hello-0 listening"


def main() -> None:
    """Run the command with the behaviour that the variable STUB names."""
    from kubernaut.cli import session
    from kubernaut.cli.main import main as command

    stub = StubKubernaut()
    behaviours: dict[str, dict[str, Any]] = {
        "steps": {"ship": steps},
        "plan": {"ship": plan_in_step},
        "wait": {"ship": wait_in_step},
        "cleanup": {"ship": clean_up_slowly},
        "finalise": {"ship": finalise},
        "swallow": {"ship": swallow},
        "shutdown": {"ship": signal_at_shutdown},
        "endless": {"logs": endless},
        "watch": {"watch": watch_failing},
        "watching": {"watch": clean_up_slowly},
        "defect": {"ship": ZeroDivisionError("password=hunter22")},
    }
    stub.answers.update(behaviours.get(os.environ.get("STUB", ""), {}))
    session.open_kubernaut = stub.open  # type: ignore[assignment]
    command()


if __name__ == "__main__":
    main()
