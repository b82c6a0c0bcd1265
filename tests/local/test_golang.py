from __future__ import annotations

import re
from pathlib import Path

import pytest

from kubernaut.errors import ToolMissing
from kubernaut_local import golang
from kubernaut_local.commands import CommandRunner
from kubernaut_local.components import HELM, HELM_VERSION, KUBERNETES, KUBERNETES_VERSION
from kubernaut_local.golang import BuildProgress, GoBuild, build, check_version, estimate, find_go


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_progress_is_reported_at_intervals_with_an_estimate() -> None:
    clock, messages = Clock(), list[str]()
    progress = BuildProgress(1930, messages.append, clock)
    for _ in range(812):
        clock.now += 0.1
        progress.line("k8s.io/api/core/v1")
    assert 10 <= len(messages) <= 17
    assert all(fact in messages[-1] for fact in ("1,930", " %", "2 min"))


def test_downloads_are_counted() -> None:
    clock, messages = Clock(), list[str]()
    progress = BuildProgress(0, messages.append, clock)
    progress.line("go: downloading k8s.io/kubernetes v1.35.4")
    clock.now += 60
    progress.line("go: downloading k8s.io/api v0.35.4")
    assert len(messages) == 1
    assert "2" in messages[0].split()


def test_progress_is_at_most_one_hundred_percent() -> None:
    progress = BuildProgress(1, lambda text: None, Clock())
    progress.line("a")
    progress.line("b")
    assert "100 %" in progress.message(100.0)


@pytest.mark.parametrize(
    ("done", "total", "seconds", "left"),
    [
        (10, 1000, 5.0, ""),
        (500, 1000, 100.0, "2 min"),
        (990, 1000, 200.0, "20 s"),
        (1000, 1000, 200.0, "20 s"),
        (100, 2000, 30.0, "10 min"),
    ],
)
def test_estimate(done: int, total: int, seconds: float, left: str) -> None:
    estimated = estimate(done, total, seconds)
    assert re.search(rf"\b{left}\b", estimated) if left else not estimated


@pytest.mark.parametrize("answer", ["go1.26.0", "go1.26.8", "go1.30", "go2.0", "devel go1.27-abc"])
def test_supported_go_versions(answer: str) -> None:
    check_version(answer)


@pytest.mark.parametrize("answer", ["go1.25.9", "go1.4", "", "gccgo 12"])
def test_old_go_is_refused(answer: str) -> None:
    with pytest.raises(ToolMissing, match=r"\b1\.26\b"):
        check_version(answer)


def test_missing_go_is_a_missing_tool(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(golang, "_GO_FOLDER", str(tmp_path))
    with pytest.raises(ToolMissing, match=r"\bGo\b"):
        find_go()


def test_old_go_stops_the_build(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    go = tmp_path / "go"
    go.write_text('#!/bin/sh\n[ "$1" = env ] && echo go1.19.8 && exit\necho "built with $1" >&2\nexit 1\n')
    go.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(ToolMissing, match=r"\bgo1\.19\.8\b"):
        build(GoBuild(tmp_path, ".", ""), tmp_path / "out", CommandRunner(), lambda text: None)


def test_build_ignores_go_variables_of_the_shell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    go, seen = tmp_path / "go", tmp_path / "seen"
    go.write_text(
        '#!/bin/sh\n[ "$2" = GOVERSION ] && echo go1.26.0 && exit\n[ "$2" = GOHOSTARCH ] && echo amd64 && exit\n'
        f'[ "$1" = build ] && echo "$GOARCH $GO111MODULE $HOME" > {seen}\nexit 0\n'
    )
    go.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("GOARCH", "riscv64")
    monkeypatch.setenv("GO111MODULE", "off")
    monkeypatch.delenv("HOME", raising=False)
    build(GoBuild(tmp_path, ".", ""), tmp_path / "out", CommandRunner(), lambda text: None)
    assert seen.read_text() == f"amd64 on {Path.home()}\n"


def test_cache_key_covers_the_sources(tmp_path: Path) -> None:
    (tmp_path / "go.sum").write_text("a")
    first = GoBuild(tmp_path, ".", "-s")
    keys = {first.key(), GoBuild(tmp_path, ".", "-w").key()}
    (tmp_path / "README").write_text("does not matter")
    assert first.key() in keys
    (tmp_path / "go.sum").write_text("b")
    assert first.key() not in keys


def test_module_files_have_the_named_versions() -> None:
    assert f"k8s.io/kubernetes v{KUBERNETES_VERSION}" in (KUBERNETES.folder / "go.mod").read_text()
    assert f"helm.sh/helm/v4 v{HELM_VERSION}" in (HELM.folder / "go.mod").read_text()
    assert f"gitVersion=v{KUBERNETES_VERSION}" in KUBERNETES.ldflags


def test_staging_modules_match_kubernetes() -> None:
    text = (KUBERNETES.folder / "go.mod").read_text()
    versions = set(re.findall(r"^\t(\S+) => \1 v(\S+)$", text, re.MULTILINE))
    assert len(versions) > 30
    assert {version for _, version in versions} == {f"0.{KUBERNETES_VERSION.partition('.')[2]}"}
