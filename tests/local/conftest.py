"""Shared fixtures of the platform's own tests: new platforms, and waiting for a condition."""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kubernaut_local import Platform
from kubernaut_local.clients import KubernetesApi

Until = Callable[[Callable[[], object], str, float], None]


def _until(condition: Callable[[], object], what: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"after {seconds:.0f} s still not so: {what}"
        time.sleep(0.1)


@pytest.fixture(scope="session")
def until() -> Until:
    """Wait until a condition holds."""
    return _until


@pytest.fixture(scope="session")
def real() -> None:
    """Skip, or with CI=true fail, where a platform cannot be brought up."""
    if os.geteuid() != 0:
        reason = "needs root: the local platform makes namespaces and mounts"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)


@pytest.fixture(scope="module")
def make_platform(real: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Platform]]:
    """Make platforms whose state is the module's own; at its end all of them are purged."""
    home: Path = tmp_path_factory.mktemp("local")
    made: list[Platform] = []

    def make(purpose: str) -> Platform:
        platform = Platform(f"t-{purpose}-{os.getpid()}", state_home=home)
        made.append(platform)
        return platform

    yield make
    for platform in made:
        platform.down(purge=True)


@pytest.fixture(scope="module")
def connect(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Platform], KubernetesApi]:
    """Connect to a platform's cluster as its user's kubeconfig does."""

    def open_api(platform: Platform) -> KubernetesApi:
        folder = tmp_path_factory.mktemp("kubeconfig")
        kubeconfig = json.loads(Path(platform.environment()["KUBECONFIG"]).read_text())
        cluster, user = kubeconfig["clusters"][0]["cluster"], kubeconfig["users"][0]["user"]
        files = {
            "ca": cluster["certificate-authority-data"],
            "cert": user["client-certificate-data"],
            "key": user["client-key-data"],
        }
        for name, data in files.items():
            (folder / name).write_bytes(base64.b64decode(data))
        port = int(cluster["server"].rpartition(":")[2])
        return KubernetesApi(port, folder / "ca", folder / "cert", folder / "key")

    return open_api
