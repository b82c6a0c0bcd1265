from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kubernaut.errors import Conflict, PlatformFailed, SettingInvalid
from kubernaut_local import host, state
from kubernaut_local.certificates import read_credentials, write_private
from kubernaut_local.layout import Layout
from kubernaut_local.locks import locked
from kubernaut_local.models import PlatformRecord, Ports

MOUNTINFO = (
    "21 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n"
    "30 21 0:25 / /s/kubernaut/local/blue/docker/overlay2/x rw - overlay overlay rw\n"
    "31 21 0:26 / /s/kubernaut/local/blue2 rw - tmpfs tmpfs rw\n"
    "32 21 0:27 / /s/with\\040space rw - tmpfs tmpfs rw\n"
)


def test_mounts_below_a_folder() -> None:
    assert state.mounts_under(MOUNTINFO, Path("/s/kubernaut/local/blue")) == ["/s/kubernaut/local/blue/docker/overlay2/x"]
    assert state.mounts_under(MOUNTINFO, Path("/s/with space")) == ["/s/with space"]
    assert state.mounts_under(MOUNTINFO, Path("/elsewhere")) == []


def test_folder_with_a_mount_is_not_purged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = Layout(tmp_path, "blue")
    layout.root.mkdir(parents=True)
    monkeypatch.setattr(state, "mounts_under", lambda text, folder: [f"{folder}/x"])
    with pytest.raises(PlatformFailed, match=re.escape(f"{layout.root}/x")):
        state.purge(layout)
    assert layout.root.exists()


def test_purge_leaves_nothing(tmp_path: Path) -> None:
    layout = Layout(tmp_path, "blue")
    state.create_folders(layout)
    with locked(layout.lock, timeout=1):
        state.purge(layout)
    assert list(tmp_path.iterdir()) == []


def test_purge_removes_a_lone_lock(tmp_path: Path) -> None:
    layout = Layout(tmp_path, "blue")
    with locked(layout.lock, timeout=1):
        state.purge(layout)
    assert list(tmp_path.iterdir()) == []


def test_purge_leaves_other_platforms(tmp_path: Path) -> None:
    blue, green = Layout(tmp_path, "blue"), Layout(tmp_path, "green")
    state.create_folders(blue)
    state.create_folders(green)
    state.purge(blue)
    assert green.etc.is_dir()


def test_record_is_written_and_read(tmp_path: Path) -> None:
    layout = Layout(tmp_path, "blue")
    state.create_folders(layout)
    assert state.read_record(layout) is None
    record = PlatformRecord(name="blue", ports=Ports(node_ports=(30001, 30002)), created_at=datetime(2026, 1, 2, tzinfo=UTC))
    state.write_record(layout, record)
    assert state.read_record(layout) == record
    assert layout.record.stat().st_mode & 0o777 == 0o600


def test_registry_port_is_fixed() -> None:
    record = PlatformRecord(name="blue", ports=Ports(), created_at=datetime(2026, 1, 2, tzinfo=UTC))
    state.check_registry_port("blue", record, Ports(api=1))
    state.check_registry_port("blue", None, Ports(registry=1))
    with pytest.raises(SettingInvalid, match=r"\b15000\b"):
        state.check_registry_port("blue", record, Ports(registry=1))


def test_link_is_created_and_updated(tmp_path: Path) -> None:
    for target in ("/one", "/two", "/two"):
        state.replace_symlink(tmp_path / "bin" / "helm", Path(target))
        assert (tmp_path / "bin" / "helm").readlink() == Path(target)


def test_credentials_are_read_from_kubeadms_kubeconfig() -> None:
    fields = {"certificate-authority-data": "QQ==", "client-certificate-data": "Qg==", "client-key-data": "Qw=="}
    text = "clusters:\n- cluster:\n" + "".join(f"    {field}: {value}\n" for field, value in fields.items())
    assert read_credentials(text)["client-key-data"] == "Qw=="
    with pytest.raises(PlatformFailed):
        read_credentials("users: []\n")


def test_private_files_have_mode_0600(tmp_path: Path) -> None:
    write_private(tmp_path / "key", "x")
    write_private(tmp_path / "key", "y")
    assert ((tmp_path / "key").read_text(), (tmp_path / "key").stat().st_mode & 0o777) == ("y", 0o600)


@pytest.fixture
def fake_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host of files: a register, one sysctl, one mount point, two cgroup hierarchies."""
    monkeypatch.setattr(host, "STATE_FOLDER", tmp_path / "register")
    monkeypatch.setattr(host, "_RECORD", tmp_path / "register" / ".host.json")
    monkeypatch.setattr(host, "_SYSCTL_FOLDER", tmp_path / "sys")
    monkeypatch.setattr(host, "SYSCTLS", ("kernel/panic", "fs/inotify/max_user_instances"))
    monkeypatch.setattr(host, "MOUNT_POINTS", {str(tmp_path / "var" / "cni"): "cni", str(tmp_path / "etc"): "etc"})
    monkeypatch.setattr(host, "_CGROUPS", tmp_path / "cgroup")
    for folder in ("sys/kernel", "sys/fs/inotify", "etc", "cgroup/cpuset", "cgroup/pids", "cgroup/unified"):
        (tmp_path / folder).mkdir(parents=True)
    for hierarchy in ("cpuset", "pids", "unified"):
        (tmp_path / "cgroup" / hierarchy / "cgroup.procs").touch()
    (tmp_path / "cgroup/cpuset/cpuset.cpus").write_text("0-1")
    (tmp_path / "cgroup/cpuset/cpuset.mems").write_text("0")
    (tmp_path / "sys/kernel/panic").write_text("0\n")
    (tmp_path / "sys/fs/inotify/max_user_instances").write_text("128\n")
    return tmp_path


def enter(layout: Layout, ports: Ports | None = None) -> Ports:
    layout.run.mkdir(parents=True, exist_ok=True)
    forget_cgroup_files(host._CGROUPS.parent)
    return host.acquire(layout, lambda free: ports or Ports(api=next(port for port in range(1, 9) if free(port))))


def forget_cgroup_files(fake: Path) -> None:
    """On the real file system of cgroups these go with their folder."""
    for file in (fake / "cgroup/cpuset").glob("kubernaut-*/cpuset.*"):
        file.unlink()


def test_last_platform_restores_the_host(fake_host: Path) -> None:
    one, two = Layout(fake_host, "one"), Layout(fake_host, "two")
    enter(one)
    assert (fake_host / "cgroup/cpuset/kubernaut-one/cpuset.cpus").read_text() == "0-1"
    (fake_host / "sys/kernel/panic").write_text("10\n")
    assert (fake_host / "sys/fs/inotify/max_user_instances").read_text() == "4096"
    enter(two)
    forget_cgroup_files(fake_host)
    with locked(two.alive, timeout=1):
        assert host.release(one)
        assert (fake_host / "sys/kernel/panic").read_text() == "10\n"
        assert (fake_host / "var/cni").is_dir()
    assert host.release(two)
    assert (fake_host / "sys/kernel/panic").read_text() == "0"
    assert (fake_host / "sys/fs/inotify/max_user_instances").read_text() == "128"
    assert not (fake_host / "var/cni").exists()
    assert (fake_host / "etc").is_dir()
    assert not (fake_host / "register").exists()
    assert not host.release(two)


def test_starting_platform_counts_as_running(fake_host: Path) -> None:
    one, two = Layout(fake_host, "one"), Layout(fake_host, "two")
    enter(one)
    enter(two)
    forget_cgroup_files(fake_host)
    with locked(two.lock, timeout=1):
        host.release(one)
        assert (fake_host / "var/cni").is_dir()


def test_ports_of_running_platforms_are_reserved(fake_host: Path) -> None:
    one, two = Layout(fake_host, "one"), Layout(fake_host, "two")
    assert enter(one).api == 1
    with locked(one.alive, timeout=1):
        assert enter(two).api == 2
    assert enter(two).api == 1


def test_running_platform_of_the_same_name_is_a_conflict(fake_host: Path) -> None:
    one, other = Layout(fake_host / "a", "one"), Layout(fake_host / "b", "one")
    enter(one)
    with locked(one.alive, timeout=1), pytest.raises(Conflict, match=r"\bone\b"):
        enter(other)
    enter(other)


def test_running_namesake_is_left_alone(fake_host: Path) -> None:
    one, other = Layout(fake_host / "a", "one"), Layout(fake_host / "b", "one")
    enter(one)
    pod = fake_host / "cgroup/pids/kubernaut-one/kubepods"
    pod.mkdir()
    with locked(one.alive, timeout=1):
        with pytest.raises(Conflict):
            enter(other)
        assert not host.release(other)
        assert pod.is_dir()
        assert (fake_host / "register" / "one.json").exists()
    forget_cgroup_files(fake_host)
    assert host.release(one)
    assert not pod.parent.exists()


def test_leftover_cgroups_are_removed_at_start(fake_host: Path) -> None:
    one = Layout(fake_host, "one")
    enter(one)
    pod = fake_host / "cgroup/pids/kubernaut-one/kubepods"
    pod.mkdir()
    forget_cgroup_files(fake_host)
    enter(one)
    assert pod.parent.is_dir()
    assert not pod.exists()


def test_record_of_an_earlier_boot_is_ignored(fake_host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = Layout(fake_host, "one")
    monkeypatch.setattr(host, "_boot_id", lambda: "first")
    enter(one)
    (fake_host / "sys/kernel/panic").write_text("5\n")
    monkeypatch.setattr(host, "_boot_id", lambda: "second")
    enter(one)
    (fake_host / "sys/kernel/panic").write_text("10\n")
    forget_cgroup_files(fake_host)
    host.release(one)
    assert (fake_host / "sys/kernel/panic").read_text() == "5"


def test_cgroup_v2_controllers_are_delegated(fake_host: Path) -> None:
    root = fake_host / "cgroup"
    (root / "cgroup.controllers").write_text("cpuset cpu memory pids hugetlb")
    (root / "cgroup.subtree_control").write_text("memory")
    enter(Layout(fake_host, "one"))
    own = root / "kubernaut-one/cgroup.subtree_control"
    assert own.read_text() == (root / "cgroup.subtree_control").read_text() == "+cpu +cpuset +memory +pids"
    own.unlink()
    (root / "cgroup.subtree_control").write_text("cpuset memory")  # as the kernel would show it
    assert host.release(Layout(fake_host, "one"))
    assert (root / "cgroup.subtree_control").read_text() == "-cpuset"


def test_missing_cgroup_v2_controllers_fail(fake_host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (fake_host / "cgroup/cgroup.controllers").write_text("cpu")
    (fake_host / "cgroup/cgroup.subtree_control").mkdir()
    monkeypatch.setattr(host, "_enabled_controllers", list)
    with pytest.raises(PlatformFailed, match=r"\+cpu\b"):
        enter(Layout(fake_host, "one"))
