"""benchmarks/ship.py: the order and independence of what is timed, and what is made of the figures. Nothing is really run."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SECONDS = {"pipeline.sh": 4.0, "kubernaut": 3.0}


@pytest.fixture
def ship(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)  # as for a script that is started there
    spec = importlib.util.spec_from_file_location("benchmarks_ship", BENCHMARKS / "ship.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


class Runs:
    """Keeps what it was told to run; everything takes as long as its program always does."""

    def __init__(self) -> None:
        self.commands: list[tuple[Sequence[str], Path, Mapping[str, str]]] = []
        self.contents: list[str] = []

    def __call__(self, command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> float:
        name = Path(command[0]).name
        self.commands.append((command, folder, environment))
        if name in SECONDS:
            self.contents.append((folder / "examples" / "hello-world" / "index.js").read_text())
        return SECONDS.get(name, 0.1)

    def measured(self) -> list[str]:
        return [name for command, _, _ in self.commands if (name := Path(command[0]).name) in SECONDS]


@pytest.fixture
def bench(ship: ModuleType, tmp_path: Path) -> tuple[ModuleType, Runs, dict[str, list[float]]]:
    """A bench of three rounds that was measured."""
    runs = Runs()
    made = ship.Bench(tmp_path, {"KUBERNAUT_REGISTRY": "127.0.0.1:5000"}, runs, label="42")
    made.prepare()
    return ship, runs, made.measure(3, lambda _: None)


def test_rounds_are_interleaved_and_the_warm_up_does_not_count(bench: tuple[ModuleType, Runs, dict[str, list[float]]]) -> None:
    ship, runs, times = bench
    shell_first = ["pipeline.sh", "kubernaut", "kubernaut"]
    ship_first = ["kubernaut", "kubernaut", "pipeline.sh"]
    assert runs.measured() == shell_first + ship_first + shell_first + ship_first
    assert times == {ship.SHELL: [4.0] * 3, ship.CHANGED: [3.0] * 3, ship.UNCHANGED: [3.0] * 3}


def test_each_run_but_the_unchanged_builds_something_new(bench: tuple[ModuleType, Runs, dict[str, list[float]]]) -> None:
    _, runs, _ = bench
    assert len(runs.contents) == 12
    assert len(set(runs.contents)) == 8  # four edits on each side; `ship` runs twice on each of its own


def test_the_sides_do_not_meet(bench: tuple[ModuleType, Runs, dict[str, list[float]]]) -> None:
    _, runs, _ = bench
    pipelines = [(folder, env) for command, folder, env in runs.commands if command[0].endswith("pipeline.sh")]
    ships = [(command, folder, env) for command, folder, env in runs.commands if command[0].endswith("kubernaut")]
    assert {folder.name for folder, _ in pipelines} == {"shell"}
    assert {folder.name for _, folder, _ in ships} == {"kubernaut"}
    assert {env["REGISTRY"] for _, env in pipelines} == {"127.0.0.1:5000/bench-shell"}
    assert {env["KUBERNAUT_REGISTRY"] for _, _, env in ships} == {"127.0.0.1:5000/bench-kubernaut"}
    assert len({env["VERSION"] for _, env in pipelines}) == len(pipelines)
    assert all("bench-kubernaut" in command for command, _, _ in ships)


def test_the_copies_lie_to_each_other_as_the_originals(bench: tuple[ModuleType, Runs, dict[str, list[float]]]) -> None:
    _, runs, _ = bench
    for side in ("shell", "kubernaut"):
        folder = next(folder for _, folder, _ in runs.commands if folder.name == side)
        assert (folder / "examples" / "hello-world" / ".." / ".." / "charts" / "hello-world" / "Chart.yaml").is_file()
    assert "// " not in (BENCHMARKS.parent / "examples" / "hello-world" / "index.js").read_text().splitlines()[-1]


def test_summary(ship: ModuleType) -> None:
    assert ship.Summary.of([3.0, 1.0, 2.0]) == ship.Summary(2.0, 1.0, 3.0)
    assert ship.Summary.of([1.0, 2.0]).median == 1.5


@pytest.mark.parametrize(
    ("changed", "unchanged", "met"),
    [(5.0, 1.0, [True, True]), (5.01, 1.0, [False, True]), (3.0, 1.01, [True, False]), (9.0, 9.0, [False, False])],
)
def test_verdicts_at_their_limits(ship: ModuleType, changed: float, unchanged: float, met: list[bool]) -> None:
    seconds = {ship.SHELL: 4.0, ship.CHANGED: changed, ship.UNCHANGED: unchanged}
    assert [verdict.met for verdict in ship.verdicts({side: ship.Summary.of([each]) for side, each in seconds.items()})] == met


def test_the_report_shows_both_ratios_and_their_targets(ship: ModuleType) -> None:
    changed, unchanged = ship.verdicts(
        {side: ship.Summary.of([each]) for side, each in zip(_sides(ship), (4.0, 3.0, 0.8), strict=True)}
    )
    assert changed.text == "ship, changed: 0.75 of the shell pipeline (-1.00 s); target: at most +1.0 s"
    assert unchanged.text == "ship, unchanged: 0.20 of the shell pipeline; target: at most 0.25"
    assert list(ship.report({ship.SHELL: [4.0, 5.0, 4.5]}))[1].split() == ["shell", "pipeline", "4.50", "4.00", "5.00", "3"]


def _sides(ship: ModuleType) -> tuple[str, str, str]:
    return ship.SHELL, ship.CHANGED, ship.UNCHANGED


def test_a_failing_program_ends_the_bench_with_what_it_said(ship: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(ship.Failed, match=r"exit status 3\nno such thing"):
        ship.run(["sh", "-c", "echo no such thing >&2; exit 3"], tmp_path, {"PATH": "/usr/bin:/bin"})
    with pytest.raises(ship.Failed, match="not-there: No such file"):
        ship.run(["not-there"], tmp_path, {"PATH": "/usr/bin:/bin"})
    assert ship.run(["true"], tmp_path, {"PATH": "/usr/bin:/bin"}) > 0


def test_what_cannot_be_removed_does_not_hide_the_figures(ship: ModuleType, tmp_path: Path) -> None:
    def fail(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> float:
        raise ship.Failed(command[0])

    ship.Bench(tmp_path, {}, fail).remove()


def test_the_shell_pipeline_does_its_five_steps_in_order(tmp_path: Path) -> None:
    for name in ("docker", "helm"):
        (tmp_path / name).write_text(f'#!/bin/sh\necho {name} "$@"\n')
        (tmp_path / name).chmod(0o755)
    environment = {
        "PATH": f"{tmp_path}:/usr/bin:/bin",
        "REGISTRY": "here:5000",
        "NAMESPACE": "there",
        "VERSION": "1.2.3",
        "PLAIN_HTTP": "1",
    }
    result = subprocess.run([BENCHMARKS / "pipeline.sh"], env=environment, capture_output=True, text=True, timeout=60, check=True)
    lines = result.stdout.splitlines()
    assert [" ".join(line.split()[:2]) for line in lines] == [
        "docker build",
        "docker push",
        "helm package",
        "helm push",
        "helm upgrade",
    ]
    assert lines[3].startswith("helm push --plain-http ")
    assert "--namespace there" in lines[4]
    assert "--wait" in lines[4]
    assert "image.repository=here:5000/hello-world,image.tag=1.2.3" in lines[4]


@pytest.fixture
def programs(ship: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder with all the programs, which do nothing; the bench knows no others."""
    for name in ("docker", "helm", "git", "kubernaut"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "KUBERNAUT_REGISTRY": "here:5000"}
    monkeypatch.setattr(ship, "_platform", lambda name: environment)
    monkeypatch.setattr(ship, "kubernaut", lambda: str(tmp_path / "kubernaut"))
    return tmp_path


def test_the_whole_bench_prints_figures_and_verdicts(
    ship: ModuleType, programs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ship, "PART_OF_SHELL", 1000.0)
    assert ship.main(["--pairs", "1"]) == 0
    output = capsys.readouterr().out
    for text in (
        "warm-up",
        "round 1",
        "median",
        "kubernaut --help",
        "helm version",
        "met     ship, changed",
        "met     ship, unchanged",
    ):
        assert text in output
    monkeypatch.setattr(ship, "PART_OF_SHELL", 0.0)
    assert ship.main(["--pairs", "1"]) == 1
    assert "MISSED  ship, unchanged" in capsys.readouterr().out


def test_a_failing_ship_is_shown_instead_of_figures(ship: ModuleType, programs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (programs / "kubernaut").write_text("#!/bin/sh\necho not ready; exit 6\n")
    assert ship.main(["--pairs", "1"]) == 7
    output, talk = capsys.readouterr()
    assert "not ready" in talk
    assert "median" not in output


def test_without_a_docker_client_it_says_so(
    ship: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ship, "_platform", lambda name: {"PATH": str(tmp_path)})
    assert ship.main([]) == 8
    assert "needs docker and helm and git on PATH" in capsys.readouterr().err
