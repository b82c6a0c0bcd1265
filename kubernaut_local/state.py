"""The state folder: its record, its configurations, and its end."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from pathlib import Path

from kubernaut.errors import NotRoot, PlatformFailed, SettingInvalid
from kubernaut_local import certificates, config, network, processes
from kubernaut_local.commands import Commands
from kubernaut_local.host import MOUNT_POINTS
from kubernaut_local.layout import Layout
from kubernaut_local.model import Ports, Record
from kubernaut_local.parts import Parts

_LINK_SCRIPT = Path(__file__).parent / "inside" / "link.py"
_FINISHED = "finished"


def read(layout: Layout) -> Record | None:
    """Return the record, or none if there was no `up` yet."""
    try:
        return Record.model_validate_json(layout.record.read_bytes())
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise NotRoot(
            f"The state folder {layout.root} can be read by root only.", hint="Run the command as root (sudo -E)."
        ) from error


def write(layout: Layout, record: Record) -> None:
    """Write the record, whole or not at all."""
    certificates.write_private(layout.record, record.model_dump_json(by_alias=True, indent=2))


def check_change(name: str, recorded: Record | None, wanted: Ports) -> None:
    """Refuse a change that the platform's data would not survive."""
    if recorded is not None and recorded.ports.registry != wanted.registry:
        raise SettingInvalid(
            f"The platform {name!r} has its registry on port {recorded.ports.registry}; its releases name images by it.",
            hint=f"Keep the port, or begin anew: `kubernaut local down --purge --name {name}`.",
        )


def prepare(layout: Layout) -> None:
    """Make the folders."""
    layout.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    folders = ("etc/cni", "pki", "run", "logs", "etcd", "containerd", "docker", "registry", *MOUNT_POINTS.values())
    for folder in folders:
        (layout.root / folder).mkdir(parents=True, exist_ok=True)
    # etcd warns, and one day refuses, when others may read its data.
    (layout.root / "etcd").chmod(0o700)


def configure(layout: Layout, ports: Ports, parts: Parts, commands: Commands) -> bool:
    """Write every configuration; return whether certificates or kubeconfigs had to be made."""
    host_resolv_conf = Path("/etc/resolv.conf")
    programs = processes.processes(layout, ports, parts.kubernetes, Path(sys.executable), _LINK_SCRIPT)
    files = {
        "kubeadm.yaml": config.kubeadm(layout, ports),
        "containerd.toml": config.containerd(layout, ports, parts.packages.cni),
        "cni/10-kubernaut.conflist": config.cni(),
        "kubelet.json": config.kubelet(layout),
        "registry.json": config.registry(layout, ports),
        "docker.json": config.docker(layout, ports),
        "resolv.conf": network.inside_resolv_conf(
            host_resolv_conf.read_text(encoding="utf-8") if host_resolv_conf.exists() else ""
        ),
        "supervisord.conf": processes.supervisord(layout, programs, parts.packages.environment()),
    }
    for name, text in files.items():
        (layout.etc / name).write_text(text, encoding="utf-8")
    return certificates.make(layout, ports, parts.kubernetes, commands)


def has_certificates(layout: Layout) -> bool:
    """Return whether the API could be asked."""
    return certificates.key(layout).exists()


def finish(layout: Layout) -> None:
    """Note that an `up` came to its end: what only `up` puts in, it has put in."""
    (layout.root / _FINISHED).touch()


def is_finished(layout: Layout) -> bool:
    """Return whether an `up` came to its end."""
    return (layout.root / _FINISHED).exists()


def link(path: Path, target: Path) -> None:
    """Make a symbolic link, or have it point elsewhere."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink() and path.readlink() == target:
        return
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.symlink_to(target)
    fresh.rename(path)


def purge(layout: Layout) -> None:
    """Remove the folder, once it is certain that nothing else is mounted in it."""
    mounted = mounts_under(Path("/proc/self/mountinfo").read_text(encoding="utf-8"), layout.root)
    if mounted:
        raise PlatformFailed(
            f"{layout.root} is not removed: {mounted[0]} is mounted in it.", hint="Unmount it and run the command again."
        )
    if layout.root.exists():
        shutil.rmtree(layout.root)
    layout.lock.unlink(missing_ok=True)
    for parent in (layout.root.parent, layout.root.parent.parent):
        # Other platforms may be in them, or come or go just now.
        with contextlib.suppress(OSError):
            parent.rmdir()


def mounts_under(mountinfo: str, folder: Path) -> list[str]:
    """Return the mount points in or at a folder, given the text of /proc/self/mountinfo."""
    points = [line.split()[4].encode().decode("unicode_escape") for line in mountinfo.splitlines() if len(line.split()) > 4]
    return [point for point in points if Path(point).is_relative_to(folder)]
