"""What a platform is made of, got ready before anything starts: the Go programs, the Debian packages, the two images.

The Go build takes minutes of processor time; fetching packages and packing images takes seconds and runs beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from kubernaut.errors import Interrupted
from kubernaut.events import Progress
from kubernaut_local import debian, image, programs
from kubernaut_local.commands import Commands
from kubernaut_local.debian import Packages
from kubernaut_local.image import Image
from kubernaut_local.layout import Cache

T = TypeVar("T")


@dataclass(frozen=True)
class Parts:
    """Everything that a platform runs or serves, in the cache."""

    kubernetes: Path
    packages: Packages
    pause: Image
    node: Image


def get(cache: Cache, progress: Progress) -> Parts:
    """Get all parts, building and fetching what is missing; when one fails, or a signal comes, the others are stopped."""
    commands = Commands()
    with ThreadPoolExecutor(max_workers=2, thread_name_prefix="part") as pool:
        kubernetes = pool.submit(_kubernetes, cache, commands, progress)
        others = pool.submit(_debian, cache, commands, progress)
        jobs: list[Future[Any]] = [kubernetes, others]
        try:
            wait(jobs, return_when=FIRST_EXCEPTION)
            _raise_first(jobs)
        except BaseException:
            commands.stop()
            raise
        return Parts(kubernetes.result(), *others.result())


def _raise_first(jobs: Sequence[Future[Any]]) -> None:
    """Raise what went wrong; that a job was stopped because of another one's failure is not it."""
    failures = [failure for job in jobs if job.done() and (failure := job.exception()) is not None]
    for failure in sorted(failures, key=lambda each: isinstance(each, Interrupted)):
        raise failure


def _kubernetes(cache: Cache, commands: Commands, progress: Progress) -> Path:
    with progress.step("kubernetes", f"Kubernetes {programs.KUBERNETES_VERSION}, built from its Go modules") as step:
        folder, made = programs.kubernetes(cache, commands, step.log)
        if made:
            step.done(f"built Kubernetes {programs.KUBERNETES_VERSION}")
        else:
            step.unchanged(f"Kubernetes {programs.KUBERNETES_VERSION} was built before")
    return folder


def _debian(cache: Cache, commands: Commands, progress: Progress) -> tuple[Packages, Image, Image]:
    with progress.step("packages", "etcd, containerd, Docker and the registry, from Debian packages") as step:
        packages, made = debian.packages(cache, commands, step.log)
        pause = image.pause(cache, packages, step.log)
        node = image.node(cache, packages, commands, step.log)
        if made:
            step.done(f"fetched {len(packages.versions())} Debian packages, none installed")
        else:
            step.unchanged("the Debian packages were fetched before")
    return packages, pause, node


def run(work: Callable[[Commands], T]) -> T:
    """Do work that runs commands; when it ends early, so do they."""
    commands = Commands()
    try:
        return work(commands)
    except BaseException:
        commands.stop()
        raise
