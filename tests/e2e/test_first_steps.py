"""The demo on the local platform, twice, and on another cluster."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.checkout import REPOSITORY, Checkout, make_checkout

from kubernaut_local import Platform

pytestmark = pytest.mark.platform


def run(checkout: Checkout, *argv: str | Path, **more: str) -> str:
    """Run a program in the work tree; return its stderr and stdout."""
    environment = {**checkout.environment, **more}
    done = subprocess.run(
        argv, cwd=checkout.tree, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stderr + done.stdout


def test_demo_on_the_local_platform_runs_twice(local_platform: Platform, platform: dict[str, str], tmp_path: Path) -> None:
    checkout = make_checkout(platform, tmp_path / "checkout")
    demo = checkout.tree / "examples" / "demo.py"
    demo.write_text((REPOSITORY / "examples" / "demo.py").read_text())
    checkout.commit()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KUBERNAUT_")}
    checkout = Checkout(checkout.tree, "demo", {**environment, "XDG_STATE_HOME": str(Path(platform["KUBECONFIG"]).parents[3])})
    first = run(checkout, sys.executable, demo, "--name", local_platform.name)
    port = platform["KUBERNAUT_NODE_PORT"]
    assert f"$ curl http://127.0.0.1:{port}/\n" in first
    assert '"greeting": "Hello, world!"' in first
    assert re.search(r"^deploy +done +[0-9.]+s", first, re.MULTILINE)
    assert re.search(r"^1\s.*deployed\s+hello-world-", first, re.MULTILINE)
    assert re.search(r"curl -H @/\S+/token http://127\.0\.0\.1:8080/api/releases/demo\.hello-world\.current/history", first)
    again = run(checkout, sys.executable, demo, "--name", local_platform.name)
    assert re.search(r"unchanged.*\bv1\b", again, re.IGNORECASE)
    assert checkout.git("status", "--porcelain") == ""
    run(checkout, Path(sys.executable).with_name("kubernaut"), "delete", "demo.hello-world.current", "--yes", **platform)


def test_demo_on_another_cluster_starts_no_platform(checkout: Checkout) -> None:
    registry = checkout.environment["KUBERNAUT_REGISTRY"]
    output = run(checkout, sys.executable, REPOSITORY / "examples" / "demo.py", "--cluster", "current", "--registry", registry)
    assert "port-forward service/hello-world" in output
    assert "kubernetes" not in output
    checkout.run("delete", "demo.hello-world.current", "--yes")
