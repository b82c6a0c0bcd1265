"""A program that is stopped from outside: an abort signals the processes of a build in any order, often the innermost first.

The output of a stopped program is ignored. When the abort reaches this process a moment later, that is the reason.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from kubernaut.adapters import process
from kubernaut.adapters.docker import credentials_for
from kubernaut.adapters.git import open_git
from kubernaut.adapters.helm import Helm
from kubernaut.errors import GitFailed, HelmFailed, Interrupted, KubernautError, LockLost, RegistryDenied
from kubernaut_local.commands import CommandRunner

STOPS = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]
ABORT = """
import os, signal, subprocess, sys, time
AFTER = '''
import os, sys, time
while os.path.exists("/proc/" + sys.argv[2]):
    time.sleep(0.001)
os.kill(int(sys.argv[1]), int(sys.argv[3]))
'''
def abort(number):
    "Signal the parent as soon as this process has ended and was reaped."
    words = [sys.executable, "-ISc", AFTER, str(os.getppid()), str(os.getpid()), str(int(number))]
    subprocess.Popen(words, stdin=-3, stdout=-3, stderr=-3, start_new_session=True)
def die(number):
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    time.sleep(60)
"""
MANIFEST = "---\nkind: Pod\nimage: a\n"
ENDS = {
    "is killed": "die(signal.SIGTERM)",
    "exits as a shell does": "sys.exit(143)",
    "prints half and is killed": f"print({MANIFEST!r}, flush=True); die(signal.SIGTERM)",
}
OBEYS = f"print('Release app has been cancelled.'); print({MANIFEST!r})"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the programs look into /proc")

Program = Callable[[str, str], Path]
Call = Callable[[Path], object]


@pytest.fixture
def program(tmp_path: Path) -> Program:
    def write(name: str, body: str) -> Path:
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!{sys.executable} -IS\n{ABORT}\n{body}\n")
        path.chmod(0o755)
        return path

    return write


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the program is stopped, and that is clear at once."""
    monkeypatch.setattr(process, "ABORT_SECONDS", 0.0)


@pytest.fixture
def aborted(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process is signalled too, however slow the machine is."""
    monkeypatch.setattr(process, "ABORT_SECONDS", 30.0)


def path_of(program: Path) -> str:
    return f"{program.parent}:{os.environ['PATH']}"


def helm(program: Path) -> Helm:
    return Helm(str(program), environment={"PATH": os.environ["PATH"]}, plain_http=lambda _: True)


def upgrade(program: Path, check: Callable[[], None] = process.no_check) -> None:
    common: dict[str, object] = {"namespace": "demo", "values": {}, "labels": {}, "description": "", "timeout": 60, "log": print}
    helm(program).upgrade("app", "/chart", install=True, history_max=5, check=check, **common)  # type: ignore[arg-type]


def git(program: Path) -> object:
    folder = program.parent.parent / "tree"
    (folder / ".git").mkdir(parents=True, exist_ok=True)
    return open_git(folder, {"PATH": path_of(program)})


def credentials(program: Path) -> object:
    (program.parent / "config.json").write_text('{"credsStore": "mine"}')
    return credentials_for("registry.example", str(program.parent))


CALLS: dict[str, tuple[str, Call, type[KubernautError]]] = {
    "template": ("helm", lambda it: helm(it).template(it, name="app", namespace="demo", values={}), HelmFailed),
    "package": ("helm", lambda it: helm(it).package(it, it.parent), HelmFailed),
    "push": ("helm", lambda it: helm(it).push(it, "localhost/charts"), HelmFailed),
    "version": ("helm", lambda it: helm(it).version(), HelmFailed),
    "upgrade": ("helm", upgrade, HelmFailed),
    "git": ("git", git, GitFailed),
    "credentials": ("docker-credential-mine", credentials, RegistryDenied),
}


@pytest.fixture(params=CALLS)
def called(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> tuple[str, Call, type[KubernautError]]:
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return CALLS[request.param]


class Aborted(KeyboardInterrupt):
    """The exception that a signal to this process raises, as in the command line."""


def stopped_by(call: Callable[[], object]) -> signal.Signals:
    """Return the signal that a call is stopped by; a result or a failure that comes before the signal fails the test."""
    signals: list[signal.Signals] = []

    def hear(number: int, _frame: object) -> None:
        signals.append(signal.Signals(number))
        raise Aborted

    before = {number: signal.signal(number, hear) for number in STOPS}
    try:
        result: object = call()
    except KubernautError as failure:
        result = failure
    except Aborted:
        return signals[0]
    finally:
        if not signals:  # it is on its way, and would end the test run
            with suppress(Aborted):
                signal.sigtimedwait([], 10)
        for number, handler in before.items():
            signal.signal(number, handler)
    pytest.fail(f"it went on before the signal came: {result!r}")


@pytest.mark.usefixtures("aborted")
@pytest.mark.parametrize("end", ENDS)
def test_an_abort_that_a_program_obeys_first_stops_the_work(
    called: tuple[str, Call, type[KubernautError]], program: Program, end: str
) -> None:
    name, call, _ = called
    it = program(name, f"abort(signal.SIGTERM)\n{ENDS[end]}")
    assert stopped_by(lambda: call(it)) == signal.SIGTERM


@pytest.mark.usefixtures("aborted")
@pytest.mark.parametrize("number", STOPS)
def test_every_signal_of_an_abort_counts(program: Program, number: signal.Signals) -> None:
    it = program("helm", f"abort({int(number)})\ndie({int(number)})")
    assert stopped_by(lambda: CALLS["template"][1](it)) == number


@pytest.mark.usefixtures("aborted")
@pytest.mark.parametrize("status", [0, 1])
def test_an_abort_after_which_helm_renders_on_stops_the_work(program: Program, status: int) -> None:
    it = program("helm", f"abort(signal.SIGTERM)\n{OBEYS}\nsys.exit({status})")
    assert stopped_by(lambda: CALLS["template"][1](it)) == signal.SIGTERM


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("number", [*STOPS, signal.SIGKILL])
def test_a_program_that_is_stopped_alone_has_failed(
    called: tuple[str, Call, type[KubernautError]], program: Program, number: signal.Signals
) -> None:
    name, call, error = called
    signalled = f"print({MANIFEST!r}, flush=True)\nif {int(number)} != 9: signal.signal({int(number)}, signal.SIG_DFL)\n"
    it = program(name, f"{signalled}os.kill(os.getpid(), {int(number)}); time.sleep(60)")
    with pytest.raises(error) as raised:
        call(it)
    assert error is RegistryDenied or str(int(number)) in raised.value.message


@pytest.mark.usefixtures("alone")
def test_a_signal_is_the_reason_and_not_the_output_before(program: Program) -> None:
    with pytest.raises(HelmFailed) as raised:
        upgrade(program("helm", "print('Error: dial tcp: connection refused', file=sys.stderr, flush=True); die(signal.SIGTERM)"))
    assert "signal 15" in raised.value.message
    assert "connection refused" in "".join(raised.value.details)


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("status", [0, 1])
def test_a_rendering_that_was_cancelled_is_not_a_manifest(program: Program, status: int) -> None:
    with pytest.raises(Interrupted):
        CALLS["template"][1](program("helm", f"{OBEYS}\nsys.exit({status})"))


def test_a_manifest_may_speak_of_a_cancelled_release(program: Program) -> None:
    text = "kind: ConfigMap\\ndata:\\n  note: |\\n    Release app has been cancelled.\\n"
    assert "cancelled" in str(CALLS["template"][1](program("helm", f'print("{text}")')))


def test_a_chart_may_render_nothing(program: Program) -> None:
    assert CALLS["template"][1](program("helm", "")) == ""


@pytest.mark.usefixtures("aborted")
@pytest.mark.parametrize("end", [*ENDS.values(), f"{OBEYS}; sys.exit(1)", "sys.exit(1)"])
def test_exception_of_a_check_after_the_end_is_the_reason(program: Program, tmp_path: Path, end: str) -> None:
    pid = tmp_path / "pid"

    def check() -> None:
        if pid.exists() and (text := pid.read_text()).endswith("\n") and not Path(f"/proc/{text.strip()}").exists():
            raise LockLost("taken")  # the program was reaped

    with pytest.raises(LockLost):
        upgrade(program("helm", f"open({str(pid)!r}, 'w').write(f'{{os.getpid()}}\\n')\n{end}"), check)


@pytest.mark.usefixtures("aborted")
def test_a_stopped_platform_program_is_stopped_work(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = CommandRunner()
    monkeypatch.setattr(process.time, "sleep", lambda _: commands.stop())
    with pytest.raises(Interrupted):
        commands.run([program("part", "die(signal.SIGTERM)")], description="Building a component", timeout=60)
