"""The platform's certificates and kubeconfigs: kubeadm makes them, once; they outlive `down` and go with a purge."""

from __future__ import annotations

import base64
import os
import re
from pathlib import Path

from kubernaut.errors import PlatformFailed
from kubernaut_local import config
from kubernaut_local.commands import Commands
from kubernaut_local.layout import Layout
from kubernaut_local.model import Ports

_SECONDS = 120.0
_FIELDS = ("certificate-authority-data", "client-certificate-data", "client-key-data")
_DONE = "made-for"


def make(layout: Layout, ports: Ports, kubernetes: Path, commands: Commands) -> bool:
    """Make what is missing; return whether anything was.

    The marker is written last, so what an interrupted run left is made again. The certificates name no port, the kubeconfigs
    name the API's: for another port only these are made anew.
    """
    marker = layout.kubeconfigs / _DONE
    if _read(marker) == str(ports.api):
        return False
    marker.unlink(missing_ok=True)
    layout.kubeconfigs.mkdir(mode=0o700, parents=True, exist_ok=True)
    for stale in layout.kubeconfigs.iterdir():
        stale.unlink()
    kubeadm, settings = kubernetes / "kubeadm", layout.etc / "kubeadm.yaml"
    phase: list[str | Path] = [kubeadm, "init", "phase"]
    commands.run([*phase, "certs", "all", "--config", settings], what="Making the certificates", timeout=_SECONDS)
    commands.run(
        [*phase, "kubeconfig", "all", "--config", settings, "--kubeconfig-dir", layout.kubeconfigs],
        what="Making the kubeconfigs",
        timeout=_SECONDS,
    )
    proxy = commands.run(
        [kubeadm, "kubeconfig", "user", "--config", settings, "--client-name", "system:kube-proxy"],
        what="Making the proxy's kubeconfig",
        timeout=_SECONDS,
    )
    write_private(layout.kubeconfigs / "kube-proxy.conf", "\n".join(proxy) + "\n")
    master = credentials((layout.kubeconfigs / "super-admin.conf").read_text(encoding="utf-8"))
    for field, file in (("client-certificate-data", certificate(layout)), ("client-key-data", key(layout))):
        write_private(file, base64.b64decode(master[field]).decode())
    admin = credentials((layout.kubeconfigs / "admin.conf").read_text(encoding="utf-8"))
    write_private(layout.kubeconfig, config.kubeconfig(layout, ports, admin))
    write_private(marker, str(ports.api))
    return True


def certificate(layout: Layout) -> Path:
    """Return the file of the super-administrator's certificate."""
    return layout.kubeconfigs / "super-admin.crt"


def key(layout: Layout) -> Path:
    """Return the file of the super-administrator's key."""
    return layout.kubeconfigs / "super-admin.key"


def credentials(kubeconfig: str) -> dict[str, str]:
    """Return the credentials in a kubeconfig that kubeadm wrote, which has one of each."""
    found = {}
    for field in _FIELDS:
        match = re.search(rf"^\s*{field}: (\S+)$", kubeconfig, re.MULTILINE)
        if match is None:
            raise PlatformFailed(f"kubeadm wrote a kubeconfig without {field}.")
        found[field] = match[1]
    return found


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    fresh.rename(path)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
