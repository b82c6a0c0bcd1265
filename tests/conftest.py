"""Shared fixtures: the local platform for the tests of real parts.

One local platform for the whole run, with its own name, ports and state, so that it never meets a user's platform. It is
brought up when the first test asks for it and taken down, with its state, at the end.
"""

from __future__ import annotations

import gc
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
from hypothesis import HealthCheck, settings
from support.ci_server import ci_server as ci_server

if TYPE_CHECKING:
    from kubernaut_local import Platform


_STATE = "KUBERNAUT_TEST_STATE"

# How long an example takes depends on the machine, its load and coverage, and the first draw builds Hypothesis' character tables.
settings.register_profile("untimed", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("quick", settings.get_profile("untimed"), max_examples=20)  # `make check`; `make test` runs them all
settings.load_profile("untimed")

# A shell's background job (some CI) ignores SIGINT, nohup SIGHUP, and so would every program that the tests start and send them to.
for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, usual)


_settrace = sys.settrace


def _settrace_again(function: Any) -> None:
    """Set the trace function of a thread: while another thread does so, Python 3.11 refuses it, and a new thread would end."""
    try:
        _settrace(function)
    except RuntimeError:
        _settrace(function)  # what was refused has reset the mark that the other thread had set


if sys.version_info < (3, 12):
    sys.settrace = _settrace_again  # coverage measures with it, in every thread


def missing(part: str) -> NoReturn:
    """Skip for want of a real part; with CI=true its absence is a failure."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{part} is missing, and with CI=true every real part must be there")
    pytest.skip(f"needs {part}")


def pytest_configure(config: pytest.Config) -> None:
    """Choose the folder of the platforms' states, for all workers; its path is short, for the sockets in it."""
    if not _is_worker(config):
        os.environ[_STATE] = tempfile.mkdtemp(prefix="kubernaut-")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Take down the platforms of an interrupted run: the workers of pytest-xdist end without a teardown then."""
    if _is_worker(config):
        return
    state = Path(os.environ.pop(_STATE))
    for left in sorted((state / "kubernaut" / "local").glob("test-*")):
        from kubernaut_local import Platform

        if left.is_dir():
            Platform(left.name, state_home=state).down(purge=True)
    shutil.rmtree(state)


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the platform's own tests first: the host after `down` can be compared only while no other platform runs."""
    local = Path(__file__).parent / "local"
    items.sort(key=lambda item: item.path.parent != local)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect without garbage collections: almost all of the million objects stay. Later ones leave them out, and are fewer."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(20_000, 20, 20)
        gc.enable()


@pytest.fixture(scope="session")
def local_platform() -> Iterator[Platform]:
    """The running platform of this test run."""
    if os.geteuid() != 0:
        missing("root, for the local platform")
    from kubernaut_local import Platform

    platform = Platform(f"test-{os.getpid()}", state_home=Path(os.environ[_STATE]))
    try:
        platform.up()
        yield platform
    finally:
        platform.down(purge=True)


@pytest.fixture(scope="session")
def platform(local_platform: Platform) -> dict[str, str]:
    """The environment of a process that uses the platform: KUBECONFIG, DOCKER_HOST, KUBERNAUT_REGISTRY, PATH with Helm 4."""
    return local_platform.environment()


@pytest.fixture(scope="session")
def helms(local_platform: Platform) -> dict[str, str]:
    """The paths of ``helm3`` and ``helm4``."""
    return {"helm3": str(local_platform.helm(3)), "helm4": str(local_platform.helm(4))}
