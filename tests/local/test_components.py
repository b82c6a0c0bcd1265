"""Commands, the cache, package selection and images, without building the real components."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path

import pytest

from kubernaut.errors import DeadlineExceeded, Interrupted, PlatformFailed, ToolMissing
from kubernaut.events import Progress
from kubernaut_local import components
from kubernaut_local.cache import Cache
from kubernaut_local.commands import CommandRunner, tail
from kubernaut_local.debian import cache_key, fetch_packages, select
from kubernaut_local.images import Image, LayerWriter, libraries, node_tags, write_image


def sh(script: str) -> list[str | Path]:
    return ["sh", "-c", script]


def test_outputs_are_separate() -> None:
    lines = list[str]()
    assert CommandRunner().run(sh("echo a; echo b >&2; echo c"), description="x", timeout=10, on_line=lines.append) == ["a", "c"]
    assert lines == ["b"]


def test_failure_has_status_and_last_lines() -> None:
    with pytest.raises(PlatformFailed, match=r"Baking.*\b3\b") as caught:
        CommandRunner().run(sh("seq 100 >&2; exit 3"), description="Baking", timeout=10)
    assert caught.value.details[-1] == "100"
    assert len(caught.value.details) == 20


def test_missing_program_is_a_missing_tool() -> None:
    with pytest.raises(ToolMissing, match="no-such-program"):
        CommandRunner().run(["no-such-program"], description="x", timeout=10)


def test_deadline_ends_the_process_group() -> None:
    started = time.monotonic()
    with pytest.raises(DeadlineExceeded, match="Sleeping"):
        CommandRunner().run(sh("sleep 60 & sleep 60"), description="Sleeping", timeout=0.3)
    assert time.monotonic() - started < 10


def test_stop_ends_running_commands_and_refuses_new_ones() -> None:
    commands, failures, running = CommandRunner(), list[BaseException](), threading.Event()

    def work() -> None:
        try:
            commands.run(sh("echo up >&2; sleep 60"), description="Sleeping", timeout=90, on_line=lambda line: running.set())
        except Interrupted as failure:
            failures.append(failure)

    thread = threading.Thread(target=work)
    thread.start()
    assert running.wait(10)
    commands.stop()
    thread.join(10)
    assert len(failures) == 1
    with pytest.raises(Interrupted):
        commands.run(["true"], description="x", timeout=10)


def test_program_ends_when_its_parent_is_killed_at_start(tmp_path: Path) -> None:
    script = (
        "import os, signal, subprocess, sys\n"
        "from kubernaut_local.commands import CommandRunner\n"
        "start = subprocess.Popen.__init__\n"
        "def die(self, *args, **kwargs):\n"
        "    start(self, *args, **kwargs, pass_fds=[int(sys.argv[2])])\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "subprocess.Popen.__init__ = die\n"
        "CommandRunner().run(['sh', '-c', 'sleep 1; echo lived > $0', sys.argv[1]], description='x', timeout=60)\n"
    )
    mark = tmp_path / "outlived"
    # The started program holds the pipe open as long as it lives.
    reading, writing = os.pipe()
    with os.fdopen(reading) as end:
        killed = subprocess.run([sys.executable, "-c", script, str(mark), str(writing)], pass_fds=(writing,), check=False)
        os.close(writing)
        assert killed.returncode == -signal.SIGKILL
        end.read()
    assert not mark.exists()


def test_tail_of_a_log(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("\n".join(map(str, range(50))))
    assert tail(tmp_path / "log", 2) == ["48", "49"]
    assert tail(tmp_path / "none") == []


def test_first_failure_stops_the_rest(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(cache: Cache, commands: CommandRunner, progress: Progress) -> None:
        commands.run(sh("exit 7"), description="Building", timeout=10)

    def wait(cache: Cache, commands: CommandRunner, progress: Progress) -> None:
        commands.run(sh("sleep 60"), description="Fetching", timeout=90)

    monkeypatch.setattr(components, "_prepare_programs", wait)
    monkeypatch.setattr(components, "_prepare_packages", fail)
    started = time.monotonic()
    with pytest.raises(PlatformFailed, match="Building"):
        components.prepare(Cache(tmp_path), Progress())
    assert time.monotonic() - started < 20


def test_cache_creates_entries_once_and_completely(tmp_path: Path) -> None:
    cache, made = Cache(tmp_path), list[Path]()

    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise PlatformFailed("no")

    def make(folder: Path) -> None:
        made.append(folder)
        (folder / "whole").touch()

    with pytest.raises(PlatformFailed):
        cache.get_or_create("things", "k", fail, print)
    assert list((tmp_path / "kubernaut" / "things").iterdir()) == []
    (tmp_path / "kubernaut" / "things" / ".new-of-a-killed-one").mkdir()
    folder, fresh = cache.get_or_create("things", "k", make, print)
    assert (fresh, (folder / "whole").exists()) == (True, True)
    assert cache.get_or_create("things", "k", make, print) == (folder, False)
    assert len(made) == 1
    assert [entry.name for entry in folder.parent.iterdir()] == ["k"]


def test_packages_are_selected_from_apts_simulation() -> None:
    simulation = [
        "NOTE: This is only a simulation!",
        "Inst libc6 (2.36-9 Debian:12 [amd64]) [gcc-12-base:amd64 ]",
        "Inst dpkg (1.21 Debian:12 [amd64])",
        "Inst libperl5.36 (5.36 Debian:12 [amd64])",
        "Inst libseccomp2 (2.5.4 Debian:12 [amd64])",
        "Inst runc (1.1.5 Debian:12 [amd64])",
        "Inst tini (0.19 Debian:12 [amd64])",
        "Conf runc (1.1.5 Debian:12 [amd64])",
    ]
    sections = {"libc6": "libs", "dpkg": "admin", "libperl5.36": "libs", "libseccomp2": "libs", "runc": "admin", "tini": "utils"}
    assert select(simulation, sections) == {"libc6": "2.36-9", "libseccomp2": "2.5.4", "runc": "1.1.5", "tini": "0.19"}


def test_missing_apt_is_a_missing_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissing, match="apt-get"):
        fetch_packages(Cache(tmp_path), CommandRunner(), print)


def test_cache_key_covers_distribution_and_machine() -> None:
    keys = {
        cache_key({"ID": "debian", "VERSION_ID": version}, machine) for version in ("12", "13") for machine in ("x86_64", "aarch64")
    }
    assert len(keys) == 4


def fill(layer: LayerWriter) -> None:
    layer.file("usr/local/bin/hello", b"#!/bin/sh\n", 0o755)
    layer.link("bin", "usr/bin")
    layer.folder("tmp", 0o1777)
    layer.folder("home/node", 0o755, 1000)


def test_image_is_reproducible(tmp_path: Path) -> None:
    images = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_image(tmp_path / name, fill, {"Cmd": ["hello"]})
        images.append(Image(tmp_path / name))
    assert images[0].digest == images[1].digest


def test_image_names_its_layer_packed_and_unpacked(tmp_path: Path) -> None:
    write_image(tmp_path, fill, {"Cmd": ["hello"]})
    image = Image(tmp_path)
    manifest = json.loads(image.manifest)
    blobs = dict(image.blobs())
    layer = blobs[manifest["layers"][0]["digest"]].read_bytes()
    config = json.loads(blobs[manifest["config"]["digest"]].read_bytes())
    plain = gzip.decompress(layer)
    assert f"sha256:{hashlib.sha256(layer).hexdigest()}" == manifest["layers"][0]["digest"]
    assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(plain).hexdigest()}"]
    with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
        found = {info.name: (info.mode, info.uid, info.linkname) for info in tar}
    assert found["usr/local/bin/hello"] == (0o755, 0, "")
    assert found["bin"][2] == "usr/bin"
    assert found["tmp"][0] == 0o1777
    assert (found["home"][1], found["home/node"][1]) == (0, 1000)


def test_tags_follow_the_version_of_node() -> None:
    tags = node_tags("22.20.0")
    assert {"22", "22-slim", "22.20.0-alpine", "lts", "latest"} <= set(tags)
    assert len(set(tags)) == len(tags)


def test_libraries_move_below_usr(tmp_path: Path) -> None:
    for name in ("lib/x86_64-linux-gnu/libc.so.6", "usr/lib/x86_64-linux-gnu/gconv/UTF-7.so", "usr/share/doc/libc6/copyright"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert [path for path, _ in libraries(tmp_path)] == ["usr/lib/x86_64-linux-gnu/libc.so.6"]
