"""`make demo-jenkins`: from a push to the new greeting, as a newcomer sees it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.checkout import REPOSITORY

from kubernaut_local import Platform

pytestmark = pytest.mark.platform


def test_push_becomes_a_running_release(local_platform: Platform, platform: dict[str, str], tmp_path: Path) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("KUBERNAUT_", "JENKINS_", "BUILD_"))}
    environment = {**kept, "XDG_STATE_HOME": str(Path(platform["KUBECONFIG"]).parents[3])}
    command = [sys.executable, REPOSITORY / "examples" / "demo_jenkins.py", "--name", local_platform.name, "--greeting", 'Say "hi"']
    try:
        done = subprocess.run(
            command,
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600,
        )
    finally:
        subprocess.run(["helm", "uninstall", "hello-world", "-n", "demo"], env={**kept, **platform}, check=False, timeout=120)
    output = done.stdout
    assert done.returncode == 0, output
    page = r"http://127\.0\.0\.1:\d+/job/hello-world-"
    assert re.search(rf"^hello-world-release\b.*{page}release/", output, re.MULTILINE)
    assert re.search(rf"^remote: .*hello-world-release\b.*{page}release/", output, re.MULTILINE)
    assert re.search(r"\bhello-world \S+ \([0-9a-f]{7}\).*\bdemo\.hello-world\.v\d+\b", output, re.MULTILINE)
    assert re.search(rf"\bbuild\b.*{page}deploy/1/", output, re.MULTILINE)
    assert '"greeting": "Say \\"hi\\", world!"' in output
    assert re.findall(rf"\bhello-world-(release|deploy) #1 +SUCCESS +{page}", output, re.MULTILINE) == ["release", "deploy"]
