"""The platform's Go programs: Kubernetes in one binary with a link for each name, and Helm 4.

Their go.mod and go.sum are this package's data; both are built when first used and kept in the cache.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from kubernaut.errors import ToolMissing
from kubernaut_local.cached import cached
from kubernaut_local.commands import Commands
from kubernaut_local.golang import GoBuild, build
from kubernaut_local.layout import Cache

KUBERNETES_VERSION = "1.35.4"
HELM_VERSION = "4.2.4"
KUBERNETES_PROGRAMS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubeadm")

_HERE = Path(__file__).parent
_KUBERNETES_STAMP = {
    "k8s.io/component-base/version.gitVersion": f"v{KUBERNETES_VERSION}",
    "k8s.io/component-base/version.gitMajor": KUBERNETES_VERSION.split(".")[0],
    "k8s.io/component-base/version.gitMinor": KUBERNETES_VERSION.split(".")[1],
}
_HELM_STAMP = {"helm.sh/helm/v4/internal/version.version": f"v{HELM_VERSION}"}


def _ldflags(stamp: dict[str, str]) -> str:
    # Without the stamp the programs call themselves v0.0.0, and Kubernetes compares versions.
    return " ".join(["-s", "-w", *(f"-X {name}={value}" for name, value in stamp.items())])


KUBERNETES = GoBuild(_HERE / "kubernetes", ".", _ldflags(_KUBERNETES_STAMP))
HELM = GoBuild(_HERE / "helm", "tool", _ldflags(_HELM_STAMP))


def kubernetes(cache: Cache, commands: Commands, say: Callable[[str], None]) -> tuple[Path, bool]:
    """Return the folder of the Kubernetes programs, and whether they had to be built."""

    def make(folder: Path) -> None:
        build(KUBERNETES, folder / "kubernetes", commands, say)
        for name in KUBERNETES_PROGRAMS:
            (folder / name).symlink_to("kubernetes")

    return cached(cache, "kubernetes", KUBERNETES.key(), make, say)


def helm4(cache: Cache, commands: Commands, say: Callable[[str], None]) -> tuple[Path, bool]:
    """Return Helm 4's program, and whether it had to be built."""

    def make(folder: Path) -> None:
        build(HELM, folder / "helm", commands, say)

    folder, made = cached(cache, "helm", HELM.key(), make, say)
    return folder / "helm", made


def helm3() -> Path:
    """Return Helm 3's program, which the package `helm-binary` puts beside the Python interpreter."""
    program = Path(sys.executable).parent / "helm"
    if not program.is_file():
        raise ToolMissing(
            f"Helm 3 is not at {program}.",
            hint="Install kubernaut with its local platform, `pip install 'kubernaut-deploy[local]'`, or use `--helm 4`.",
        )
    return program
