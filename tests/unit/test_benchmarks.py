"""The benchmarks' verdicts, exit statuses and order of runs. Nothing is measured: programs and results are fakes."""

from __future__ import annotations

import dataclasses
import importlib
import os
import pkgutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from kubernaut.errors import ClusterUnreachable

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SECONDS = {"pipeline.sh": 4.0, "kubernaut": 3.0}
Load = Callable[[str], ModuleType]
Commands = list[tuple[Sequence[str], Path, Mapping[str, str]]]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    """Import modules of benchmarks/ as its scripts do, and remove them afterwards."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    yield importlib.import_module
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None) or "").startswith(str(BENCHMARKS)):
            del sys.modules[name]


def good_figures(load: Load, bench: str) -> Any:
    """Return figures that meet every target."""
    figures = load(f"{bench}_figures")
    if bench == "race":
        return figures.Figures(
            figures.Cost([1.0, 2.0, 3.0], [0.9, 1.95, 2.9], [0.8, 0.8, 0.8]),
            figures.Killed(0.2, again=9.5, undisturbed=9.0, helm="pending-upgrade", helm_again=1),
            figures.Suspended(32.5, status=5, code="lock_lost", until_ended=1.0, deployed=1),
            figures.Race(won=1, refused=[0.4, 0.9, 0.3], other_errors=[], refused_alone=0.1),
        )
    if bench == "ci":
        pairs = figures.Pairs([3.0, 9.0, 4.0], [2.0, 8.5, 3.0])
        return figures.Figures(pairs, figures.Pairs([9.0, 8.0], [5.0, 5.0]), figures.Following([0.1, 1.1], 15, 15.0))
    if bench == "rollout":
        failures = {"image missing": [figures.Failure(1.0, 2.0, 20.0, 90.0)], "hook fails": [figures.Failure(1.0, 3.0, 4.0, 5.0)]}
        return figures.Figures(failures, done=[0.1, 0.4, 9.0], answered=[True, True])
    answers = load("serve_load").Load([0.01] * 100, 0, 1.0)
    loads = {"lists": answers, "constants": answers, "maximum": answers, "half": answers}
    return figures.Figures([1.0], [1.5], 2.0, **loads, delays=[0.5], before=100.0, after=105.0)


@pytest.mark.parametrize(
    ("bench", "part", "changed", "missed"),
    [
        ("race", "", {}, []),
        ("race", "cost", {"locked": [1.15], "unlocked": [1.0]}, []),
        ("race", "cost", {"locked": [1.16], "unlocked": [1.0]}, [0]),
        ("race", "cost", {"locked": [1.0, 1.3, 9.0], "unlocked": [0.9, 1.2, 1.0]}, []),  # one odd pair does not count
        ("race", "cost", {"locked": [1.2, 2.2, 1.0], "unlocked": [1.0, 2.0, 2.2]}, [0]),  # the sides' medians would hide it
        ("race", "killed", {"until_failed": 5.0}, []),
        ("race", "killed", {"until_failed": 5.01}, [1]),
        ("race", "suspended", {"until_taken": 35.0}, []),
        ("race", "suspended", {"until_taken": 35.1}, [2]),
        ("race", "suspended", {"status": 0}, [3]),
        ("race", "suspended", {"code": "conflict"}, [3]),
        ("race", "suspended", {"deployed": 2}, [3]),
        ("race", "race", {"won": 0}, [4]),
        ("race", "race", {"won": 2}, [4]),
        ("race", "race", {"other_errors": ["Conflict"]}, [4]),
        ("race", "race", {"refused": [0.1, 2.0]}, []),
        ("race", "race", {"refused": [0.1, 2.01]}, [5]),
        ("race", "race", {"refused": []}, [4, 5]),
        ("ci", "", {}, []),
        ("ci", "deploy", {"ci": [3.5], "command": [2.0]}, []),
        ("ci", "deploy", {"ci": [3.51], "command": [2.0]}, [0]),
        ("ci", "push", {"ci": [10.0], "command": [5.0]}, []),
        ("ci", "push", {"ci": [10.1], "command": [5.0]}, [1]),
        ("ci", "following", {"delays": [0.1, 2.0]}, []),
        ("ci", "following", {"delays": [0.1, 2.1, 0.1]}, [2]),
        ("ci", "following", {"requests": 16}, [3]),
        ("rollout", "", {}, []),
        ("rollout", "", {"done": [0.5]}, []),
        ("rollout", "", {"done": [0.51]}, [1]),
        ("rollout", "", {"answered": [True, False]}, [2]),
        ("serve", "", {}, []),
        ("serve", "lists", {"seconds": [0.03] * 100}, []),
        ("serve", "lists", {"seconds": [0.031] * 100}, [0]),
        ("serve", "half", {"seconds": [0.01] * 98 + [0.051] * 2}, [1]),
        ("serve", "maximum", {"errors": 1}, [2]),
        ("serve", "", {"ready": [2.01]}, [3]),
        ("serve", "", {"delays": [0.1, 1.01]}, [4]),
        ("serve", "", {"before": 190.0, "after": 200.0}, [5]),
        ("serve", "", {"after": 110.1}, [6]),
    ],
)
def test_verdicts_at_their_limits(load: Load, bench: str, part: str, changed: dict[str, Any], missed: list[int]) -> None:
    figures = good_figures(load, bench)
    changes = {part: dataclasses.replace(getattr(figures, part), **changed)} if part else changed
    verdicts = load(f"{bench}_figures").verdicts(dataclasses.replace(figures, **changes))
    assert [number for number, verdict in enumerate(verdicts) if not verdict.met] == missed


@pytest.mark.parametrize(("shown", "missed"), [([4.0], []), ([4.01], [0]), ([1.5, 9.0, 3.0], []), ([1.5, 9.0, 5.0], [0])])
def test_verdict_of_rollout_is_about_the_slowest_cause(load: Load, shown: list[float], missed: list[int]) -> None:
    figures = load("rollout_figures")
    good = good_figures(load, "rollout")
    slow = {"Job fails": [figures.Failure(1.0, at, 9.9) for at in shown]}
    verdicts = figures.verdicts(dataclasses.replace(good, failures={**good.failures, **slow}))
    assert [number for number, verdict in enumerate(verdicts) if not verdict.met] == missed


@pytest.mark.parametrize(
    ("changed", "unchanged", "met"),
    [(5.0, 1.0, [True, True]), (5.01, 1.0, [False, True]), (3.0, 1.01, [True, False]), (9.0, 9.0, [False, False])],
)
def test_verdicts_of_ship_at_their_limits(load: Load, changed: float, unchanged: float, met: list[bool]) -> None:
    ship = load("ship")
    seconds = {ship.SHELL: [3.0, 4.0, 9.0], ship.CHANGED: [changed], ship.UNCHANGED: [unchanged]}
    verdicts = ship.verdicts({name: ship.Summary.of(each) for name, each in seconds.items()})
    assert [verdict.met for verdict in verdicts] == met


@pytest.mark.parametrize(("bench", "part"), [("race", "killed"), ("ci", "following"), ("serve", "maximum")])
def test_the_exit_status_reports_a_missed_target(
    load: Load, bench: str, part: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script, figures = load(bench), good_figures(load, bench)
    bad = {"race": {"until_failed": 9.9}, "ci": {"requests": 99}, "serve": {"errors": 1}}[bench]
    missed = dataclasses.replace(figures, **{part: dataclasses.replace(getattr(figures, part), **bad)})
    monkeypatch.setattr(script, "platform", lambda name: {})
    for result, status in ((figures, 0), (missed, 1)):
        monkeypatch.setattr(script, "_measure", lambda *_, result=result: result)
        assert script.main([]) == status
        output = capsys.readouterr().out
        assert "median" in output
        assert ("MISSED" in output) == bool(status)


@pytest.mark.parametrize("bench", ["race", "ci", "serve", "rollout"])
def test_a_failed_measurement_prints_no_figures(
    load: Load, bench: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = load(bench)
    monkeypatch.setattr(script, "platform", lambda name: {})
    for failure in (script.MeasurementFailed("not ready"), ClusterUnreachable("not ready")):

        def fail(*_: Any, failure: Exception = failure) -> None:
            raise failure

        monkeypatch.setattr(script, "_measure", fail)
        assert script.main([]) == 7
        output, errors = capsys.readouterr()
        assert "not ready" in errors
        assert "median" not in output


@pytest.mark.parametrize(
    ("bench", "option"), [("ship", "pairs"), ("ci", "pairs"), ("race", "deployers"), ("serve", "revisions"), ("rollout", "runs")]
)
def test_too_few_runs_are_a_usage_error(load: Load, bench: str, option: str) -> None:
    with pytest.raises(SystemExit) as caught:
        load(bench).main([f"--{option}", "0"])
    assert caught.value.code == 2


@pytest.fixture
def measured(load: Load, tmp_path: Path) -> tuple[Commands, list[str], dict[str, list[float]]]:
    """Three rounds of ship.py: the commands, index.js at each measured one, and the times."""
    commands, contents = Commands(), list[str]()

    def run(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> float:
        commands.append((command, folder, environment))
        if Path(command[0]).name in SECONDS:
            contents.append((folder / "examples" / "hello-world" / "index.js").read_text())
        return SECONDS.get(Path(command[0]).name, 0.1)

    bench = load("ship").Bench(tmp_path, {"KUBERNAUT_REGISTRY": "127.0.0.1:5000"}, run, label="42")
    bench.prepare()
    return commands, contents, bench.measure(3, lambda line: None)


def test_rounds_alternate_and_the_warm_up_does_not_count(load: Load, measured: tuple[Any, ...]) -> None:
    commands, contents, times = measured
    names = [name for command, _, _ in commands if (name := Path(command[0]).name) in SECONDS]
    assert names == [*("pipeline.sh", "kubernaut", "kubernaut"), *("kubernaut", "kubernaut", "pipeline.sh")] * 2
    assert [len(seconds) for seconds in times.values()] == [3, 3, 3]
    assert len(set(contents)) == 8  # an edit before each run but the unchanged one


def test_the_sides_share_no_folder_repository_or_namespace(measured: tuple[Any, ...]) -> None:
    runs = [run for run in measured[0] if Path(run[0][0]).name in SECONDS]
    shell = [(folder.name, env["REGISTRY"], env["NAMESPACE"]) for command, folder, env in runs if "pipeline" in command[0]]
    ship = [(folder.name, env["KUBERNAUT_REGISTRY"], command[4]) for command, folder, env in runs if "pipeline" not in command[0]]
    assert not set(shell[0]) & set(ship[0])
    assert len(set(shell)) == len(set(ship)) == 1


@pytest.fixture
def fake_programs(load: Load, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A PATH with fake programs, which print their arguments."""
    for name in ("docker", "helm", "git", "kubernaut"):
        (tmp_path / name).write_text(f'#!/bin/sh\necho {name} "$@"\n')
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "KUBERNAUT_REGISTRY": "here:5000"}
    monkeypatch.setattr(load("ship"), "_platform", lambda name: environment)
    monkeypatch.setattr(load("ship"), "kubernaut", lambda: str(tmp_path / "kubernaut"))
    return tmp_path


def test_ship_reports_its_verdicts_and_failures(
    load: Load, fake_programs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for ratio, status in ((1000.0, 0), (0.0, 1)):
        monkeypatch.setattr(load("ship"), "MAX_UNCHANGED_RATIO", ratio)
        assert load("ship").main(["--pairs", "1"]) == status
        assert ("MISSED" in capsys.readouterr().out) == bool(status)
    (fake_programs / "kubernaut").write_text("#!/bin/sh\necho not ready; exit 6\n")
    assert load("ship").main(["--pairs", "1"]) == 7
    assert "not ready" in capsys.readouterr().err
    (fake_programs / "docker").unlink()
    monkeypatch.setattr(load("ship"), "_platform", lambda name: {"PATH": str(fake_programs)})
    assert load("ship").main([]) == 8
    assert "docker" in capsys.readouterr().err


def test_the_shell_pipeline_runs_its_steps_in_order(fake_programs: Path) -> None:
    variables = {"REGISTRY": "here:5000", "NAMESPACE": "there", "VERSION": "1.2.3", "PLAIN_HTTP": "1"}
    environment = {"PATH": f"{fake_programs}:/usr/bin:/bin", **variables}
    result = subprocess.run([BENCHMARKS / "pipeline.sh"], env=environment, capture_output=True, text=True, timeout=60, check=True)
    steps = [line.split() for line in result.stdout.splitlines()]
    assert [step[:2] for step in steps] == [
        ["docker", "build"],
        ["docker", "push"],
        *(["helm", verb] for verb in ("package", "push", "upgrade")),
    ]
    assert {"--wait", "there", "image.repository=here:5000/hello-world,image.tag=1.2.3"} <= set(steps[-1])


def test_without_lock_replaces_the_lock_and_restores_it(load: Load) -> None:
    runs = load("race_runs")
    names = (runs.LOCK, *runs.WRITES)
    before = [pkgutil.resolve_name(name) for name in names]
    with runs.without_lock():
        replaced = [pkgutil.resolve_name(name) for name in names]
        assert all(one is not real for one, real in zip(replaced, before, strict=True))
        with replaced[0](None, "there", "web", None, timeout=0.0, notify=print) as held:
            held.check()
    assert [pkgutil.resolve_name(name) for name in names] == before


@pytest.fixture
def sandbox(tmp_path: Path) -> Any:
    return SimpleNamespace(folder=tmp_path, environment={"PATH": "/usr/bin:/bin"}, programs=[])


def test_a_failed_program_is_reported_with_its_output(load: Load, sandbox: Any) -> None:
    program = load("race_runs").Program(["sh", "-c", "echo no such thing; exit 3"], sandbox)
    with pytest.raises(load("measure").MeasurementFailed, match=r"\b3\n.*no such thing"):
        program.seconds()
    with pytest.raises(load("measure").MeasurementFailed, match=r"\b3\n.*no such thing"):
        load("measure").run(["sh", "-c", "echo no such thing >&2; exit 3"], sandbox.folder, sandbox.environment)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc, as the local platform does")
def test_a_suspended_program_is_suspended_with_its_descendants(load: Load, sandbox: Any) -> None:
    runs = load("race_runs")
    program = runs.Program(["sh", "-c", "sh -c 'sleep 60; :'; :"], sandbox)

    def started() -> Any:  # before sleep runs, its shell waits in vfork and cannot be stopped
        found = runs.descendants(program.process.pid)
        return len(found) == 2 and "sleep\n" in [Path(f"/proc/{pid}/comm").read_text() for pid in found] and found

    children = runs.wait_until(started, "started", 10.0)
    program.signal(runs.signal.SIGSTOP)
    pids = (program.process.pid, *children)
    runs.wait_until(
        lambda: {Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] for pid in pids} == {"T"}, "stopped"
    )
    program.stop()
    assert program.process.returncode == -15
    for pid in children:
        os.kill(pid, 9)
