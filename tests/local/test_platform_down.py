"""The host after `down`, interrupted `up`s, platforms side by side, and refusals."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kubernaut.errors import KubernautError, NotRoot, ToolMissing
from kubernaut_local import Platform, PlatformState, debian, host, layout
from kubernaut_local.cache import Cache

pytestmark = pytest.mark.platform

Until = Callable[[Callable[[], object], str, float], None]

UP = r"""
import sys
from pathlib import Path
from kubernaut.events import LogLine, StepStarted
from kubernaut_local import Platform

def show(event):
    if isinstance(event, (StepStarted, LogLine)):
        sys.stdout.write(f"{event.step} {getattr(event, 'text', 'started')}\n")  # one write: two threads say things
        sys.stdout.flush()

result = Platform(sys.argv[1], state_home=Path(sys.argv[2]), cache_home=Path(sys.argv[3])).up(show)
print("done", result.changed, flush=True)
"""


@contextlib.contextmanager
def upping(platform: Platform, cache: Path | None = None) -> Iterator[subprocess.Popen[str]]:
    """Run `up` in a child process, which can be killed."""
    home = platform.folder.parents[2]
    arguments = [platform.name, str(home), str(cache or layout.cache_home())]
    with subprocess.Popen([sys.executable, "-c", UP, *arguments], stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def stop_at(platform: Platform, line: str, number: signal.Signals, cache: Path | None = None) -> int:
    """Start an `up` and send it a signal when it prints a line that matches; return its exit status."""
    with upping(platform, cache) as process:
        assert process.stdout is not None
        for printed in process.stdout:
            if re.fullmatch(line, printed.rstrip("\n")):
                process.send_signal(number)
                break
        else:
            pytest.fail(f"`up` never printed {line!r}")
        process.stdout.read()
        return process.wait(60)


def run(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def iptables() -> str:
    """The host's rules, by the platform's own iptables, without the counters."""
    packages = debian.find_packages(Cache.default())
    assert packages is not None
    environment = packages.environment()
    return "\n".join(
        subprocess.run(
            [f"{packages.folder}/links/{name}"], env=environment, capture_output=True, text=True, check=True
        ).stdout.partition("*")[2]
        for name in ("iptables-save", "ip6tables-save")
    )


def host_facts(platform: Platform) -> dict[str, object]:
    """Everything that a platform could leave behind, as far as it is this platform's."""
    name = platform.name
    # `os.walk` skips folders that vanish meanwhile: other platforms' cgroups come and go.
    cgroups = [folder for folder, _, _ in os.walk("/sys/fs/cgroup") if f"kubernaut-{name}" in folder]
    processes = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            command = (folder / "cmdline").read_bytes().decode(errors="replace")
            if str(platform.folder) in command:
                processes.append(command)
    sockets = [line for line in Path("/proc/net/unix").read_text().splitlines() if str(platform.folder) in line]
    return {
        "mounts": [line.split(" ", 3)[3] for line in Path("/proc/self/mountinfo").read_text().splitlines()],
        "interfaces": sorted(path.name for path in Path("/sys/class/net").iterdir()),
        "routes": Path("/proc/net/route").read_text(),
        "iptables": iptables(),
        "cgroups": cgroups,
        "processes": processes,
        "sockets": sockets,
        "namespaces": [str(path) for path in Path("/run/netns").glob("*")] if Path("/run/netns").exists() else [],
        "installed": Path("/var/lib/dpkg/status").stat().st_mtime,
    }


def sysctls() -> dict[str, str]:
    return {name: Path("/proc/sys", name).read_text() for name in host.SYSCTLS}


def folders() -> set[str]:
    """Return the paths in folders where programs tend to leave files."""
    tops = (".", "etc", "etc/docker", "opt", "opt/*", "var/lib", "var/log", "run", "usr/libexec", "usr/local/*")
    return {str(path) for top in tops for path in Path("/").glob(f"{top}/*")}


@pytest.fixture(scope="module", autouse=True)
def hosts_folders(real: None, make_platform: Callable[[str], Platform]) -> tuple[set[str], set[str]]:
    """The paths in the host's folders before and after the first platform of this module, which also fills the cache."""
    platform = make_platform("warm")
    before = folders()
    platform.up()
    platform.down(purge=True)
    return before, folders()


def others_live() -> bool:
    return host.STATE_FOLDER.exists()


def test_host_folders_are_left_unchanged(hosts_folders: tuple[set[str], set[str]]) -> None:
    before, after = hosts_folders
    assert "/etc/passwd" in after
    platforms = {*host.MOUNT_POINTS, str(host.STATE_FOLDER)}
    # Another platform that lives still needs its folders; those of one that was killed, and never went, go with the last one.
    assert after - before - (platforms if others_live() else set()) == set()
    assert before - after - (platforms if str(host.STATE_FOLDER) in before else set()) == set()


def test_down_restores_the_host(make_platform: Callable[[str], Platform]) -> None:
    platform = make_platform("down")
    alone = not others_live()
    before, settings = host_facts(platform), sysctls()
    platform.up()
    ports = platform.ports_for().all()
    during = host_facts(platform)
    assert during["processes"]
    assert during["cgroups"]
    # Nothing of the host's network is touched even while it runs.
    for fact in ("mounts", "interfaces", "routes", "iptables", "namespaces", "installed"):
        assert during[fact] == before[fact], fact
    assert platform.down().changed
    after = host_facts(platform)
    for fact, value in before.items():
        assert after[fact] == value, fact
    if alone and not others_live():
        assert sysctls() == settings
    listening = Path("/proc/net/tcp").read_text()
    assert not [port for port in ports if f"0100007F:{port:04X} 00000000:0000 0A" in listening]
    assert platform.folder.exists()
    assert not platform.down().changed
    assert platform.down(purge=True).purged
    assert not platform.folder.exists()
    assert not platform.down(purge=True).changed


def test_interrupted_up_is_finished_by_the_next(make_platform: Callable[[str], Platform]) -> None:
    platform = make_platform("kill")
    for line in ("packages started", "configure started", "start started", "ready link", "ready kube-apiserver"):
        assert stop_at(platform, line, signal.SIGKILL) == -signal.SIGKILL
    assert platform.up().changed
    assert platform.status().ready
    assert not platform.up().changed


def test_stopped_up_stops_its_processes(make_platform: Callable[[str], Platform]) -> None:
    platform = make_platform("stop")
    before = host_facts(platform)
    for line in ("start started", "ready registry"):
        assert stop_at(platform, line, signal.SIGINT) != 0
        assert platform.status().state is PlatformState.DOWN
        after = host_facts(platform)
        for fact in ("mounts", "interfaces", "iptables", "cgroups", "processes"):
            assert after[fact] == before[fact], fact


def test_concurrent_ups_start_one_platform(make_platform: Callable[[str], Platform]) -> None:
    platform = make_platform("race")
    with upping(platform) as first, upping(platform) as second:
        outputs = [process.communicate(timeout=240)[0] for process in (first, second)]
    assert sorted(text.splitlines()[-1] for text in outputs) == ["done False", "done True"]
    assert len([text for text in outputs if "wait started" in text]) == 1


def test_two_platforms_run_side_by_side(make_platform: Callable[[str], Platform]) -> None:
    one, two = make_platform("race"), make_platform("other")
    assert not one.up().changed
    assert two.up().changed
    assert not set(one.ports_for().all()) & set(two.ports_for().all())
    assert one.status().ready
    assert two.status().ready
    two.down(purge=True)
    assert one.status().ready


def test_missing_platform_is_down(make_platform: Callable[[str], Platform]) -> None:
    platform = make_platform("none")
    assert platform.status().state is PlatformState.DOWN
    assert platform.status().ports is None
    assert not platform.down(purge=True).changed
    with pytest.raises(KubernautError, match=re.escape(platform.name)):
        platform.environment()


@pytest.fixture
def without_kubernetes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache without the Go programs; Debian packages come from the usual cache, so that none is fetched again."""
    cache = tmp_path_factory.mktemp("go")
    (cache / "kubernaut").mkdir()
    for kind in ("debian", "images"):
        (cache / "kubernaut" / kind).symlink_to(layout.cache_home() / "kubernaut" / kind)
    return cache


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_stopped_build_leaves_no_process(
    make_platform: Callable[[str], Platform], without_kubernetes: Path, number: signal.Signals, until: Until
) -> None:
    platform = make_platform("build")

    def going() -> list[bytes]:
        found = []
        for file in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                command = file.read_bytes()
                if os.fsencode(without_kubernetes) in command:
                    found.append(command)
        return found

    with upping(platform, without_kubernetes) as process:
        assert process.stdout is not None
        until(lambda: any(b"go\0build\0" in command for command in going()), "the Go tool builds", 120)
        process.send_signal(number)
        process.stdout.read()
        assert process.wait(60) != 0
    until(lambda: not going(), "the Go tool has ended", 10)
    assert not platform.folder.exists()
    left = list((without_kubernetes / "kubernaut" / "kubernetes").iterdir())
    # After a kill -9 the next `up` cleans up, before it builds.
    assert number is signal.SIGKILL or not left


def test_missing_go_starts_nothing(
    make_platform: Callable[[str], Platform], without_kubernetes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
    monkeypatch.setattr("kubernaut_local.golang._GO_FOLDER", str(without_kubernetes))
    home = make_platform("go").folder.parents[2]
    platform = Platform(f"t-go-{os.getpid()}", state_home=home, cache_home=without_kubernetes)
    with pytest.raises(ToolMissing, match=r"\bGo\b"):
        platform.up()
    assert not platform.folder.exists()


def test_other_users_are_refused(make_platform: Callable[[str], Platform]) -> None:
    platform = make_platform("user")
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        refused = 0
        for verb in (platform.up, platform.down):
            try:
                verb()
            except NotRoot:
                refused += 1
        os._exit(refused)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2
