"""The components that a platform runs: the Go programs, the Debian packages and the two images, built or fetched before any start.

The Go build takes minutes; fetching packages and packing images takes seconds and runs beside it. The go.mod and go.sum of the
Go programs, one module, are data of this package.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubernaut.errors import Interrupted, ToolMissing
from kubernaut.events import Progress
from kubernaut_local import debian, images
from kubernaut_local.cache import Cache
from kubernaut_local.commands import CommandRunner
from kubernaut_local.debian import Packages
from kubernaut_local.golang import GoBuild, build
from kubernaut_local.images import Image

KUBERNETES_VERSION = "1.36.5"
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
    # Without the stamp the programs report version v0.0.0, and Kubernetes compares versions.
    return " ".join(["-s", "-w", *(f"-X {name}={value}" for name, value in stamp.items())])


# One Go module for both, so that client-go and what else they share is compiled once. Helm is a separate binary: linked into
# the other, each of its calls would initialize all of Kubernetes.
KUBERNETES = GoBuild(_HERE / "kubernetes", ".", _ldflags(_KUBERNETES_STAMP))
HELM = GoBuild(_HERE / "kubernetes", "helm.sh/helm/v4/cmd/helm", _ldflags(_HELM_STAMP))


@dataclass(frozen=True)
class Components:
    """All components, in the cache.

    Attributes:
        kubernetes: The folder of the Kubernetes programs.
        helm: The path of Helm 4.
        packages: The Debian packages.
        pause: The image of the pods' pause container.
        node: The `node` image.
    """

    kubernetes: Path
    helm: Path
    packages: Packages
    pause: Image
    node: Image


def prepare(cache: Cache, progress: Progress) -> Components:
    """Return all components, building and fetching the missing ones.

    Raises:
        ToolMissing: Go or apt-get is missing or too old.
        PlatformFailed: A component could not be built or fetched; the others are stopped.
    """
    with ThreadPoolExecutor(max_workers=2, thread_name_prefix="component") as pool, CommandRunner() as commands:
        programs = pool.submit(_prepare_programs, cache, commands, progress)
        others = pool.submit(_prepare_packages, cache, commands, progress)
        jobs: list[Future[Any]] = [programs, others]
        wait(jobs, return_when=FIRST_EXCEPTION)
        _raise_cause(jobs)
        kubernetes, helm = programs.result()
        return Components(kubernetes, helm, *others.result())


def _raise_cause(jobs: Sequence[Future[Any]]) -> None:
    """Raise the failure of the jobs, if any; a job that was interrupted because of another's failure is not the cause."""
    failures = [failure for job in jobs if job.done() and (failure := job.exception()) is not None]
    for failure in sorted(failures, key=lambda each: isinstance(each, Interrupted)):
        raise failure


def _prepare_programs(cache: Cache, commands: CommandRunner, progress: Progress) -> tuple[Path, Path]:
    with progress.step("kubernetes", f"Kubernetes {KUBERNETES_VERSION}, built from its Go modules") as step:
        folder, built = kubernetes(cache, commands, step.log)
        if built:
            step.done(f"built Kubernetes {KUBERNETES_VERSION}")
        else:
            step.unchanged(f"Kubernetes {KUBERNETES_VERSION} is in the cache")
    return folder, prepare_helm(cache, commands, progress)  # after Kubernetes, whose packages it shares


def prepare_helm(cache: Cache, commands: CommandRunner, progress: Progress) -> Path:
    """Return the path of Helm 4, which is built if it is missing. Raises: ToolMissing, PlatformFailed."""
    title = f"Helm {HELM_VERSION}"
    with progress.step("helm", f"{title}, built from the same Go modules") as step:
        folder, built = cache.get_or_create("helm", HELM.key(), lambda new: build(HELM, new / "helm", commands, step.log), step.log)
        (step.done if built else step.unchanged)(f"built {title}" if built else f"{title} is in the cache")
    return folder / "helm"


def _prepare_packages(cache: Cache, commands: CommandRunner, progress: Progress) -> tuple[Packages, Image, Image]:
    with progress.step("packages", "etcd, containerd, Docker and the registry, from Debian packages") as step:
        packages, fetched = debian.fetch_packages(cache, commands, step.log)
        pause = images.pause_image(cache, packages, step.log)
        node = images.node_image(cache, packages, commands, step.log)
        if fetched:
            step.done(f"fetched {len(packages.versions())} Debian packages, none installed")
        else:
            step.unchanged("the Debian packages are in the cache")
    return packages, pause, node


def kubernetes(cache: Cache, commands: CommandRunner, log: Callable[[str], None]) -> tuple[Path, bool]:
    """Return the folder of the Kubernetes programs, and whether they were built now.

    They are one binary with a symbolic link for each program.
    """

    def create(folder: Path) -> None:
        build(KUBERNETES, folder / "kubernetes", commands, log)
        for name in KUBERNETES_PROGRAMS:
            (folder / name).symlink_to("kubernetes")

    return cache.get_or_create("kubernetes", KUBERNETES.key(), create, log)


def helm3() -> Path:
    """Return the path of Helm 3, which the package `helm-binary` installs beside the Python interpreter."""
    program = Path(sys.executable).parent / "helm"
    if not program.is_file():
        raise ToolMissing(
            f"Helm 3 is not at {program}.",
            hint="Install it with `pip install 'kubernaut-deploy[local]'`, or use Helm 4: `kubernaut local env`.",
        )
    return program
