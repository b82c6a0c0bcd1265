"""The README's commands, run in order in a fresh clone, in the state that the commands before them leave."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from support.checkout import REPOSITORY
from support.server_process import serving

from kubernaut_local import Platform

pytestmark = pytest.mark.platform

BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
NAMESPACE = "demo"


def blocks() -> list[tuple[str, str]]:
    """Return the README's runnable blocks in their order, as language and text."""
    return BLOCK.findall((REPOSITORY / "README.md").read_text(encoding="utf-8"))


def clone(target: Path) -> Path:
    """Clone the repository, without tags, and add what is not committed yet."""
    subprocess.run(["git", "clone", "--quiet", "--no-tags", str(REPOSITORY), str(target)], check=True)
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        source, copy = REPOSITORY / name, target / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        if source.is_file():
            shutil.copy2(source, copy)
        else:
            copy.unlink(missing_ok=True)
    return target


@dataclass
class Reader:
    """A shell in the clone; variables that a block exports are set in the next one.

    Attributes:
        replacements: Texts of the README, and what stands for them on this platform.
    """

    tree: Path
    environment: dict[str, str]
    replacements: Mapping[str, str] = field(default_factory=dict)

    def run(self, script: str, *, check: int = 0) -> str:
        """Run a block in bash, stopping at its first failure; return its stdout."""
        for text, replacement in self.replacements.items():
            script = script.replace(text, replacement)
        kept = self.tree.parent / "environment"
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", f"{script}\nenv -0 > {kept}"],
            cwd=self.tree,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
        assert done.returncode == check, done.stdout + done.stderr
        self.environment = dict(item.split("=", 1) for item in kept.read_text().split("\0") if item)
        return done.stdout


@pytest.fixture
def reader(local_platform: Platform, platform: dict[str, str], tmp_path: Path) -> Iterator[Reader]:
    tree = clone(tmp_path / "kubernaut")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KUBERNAUT_")}
    environment |= {
        "HOME": str(tmp_path),
        "XDG_STATE_HOME": str(Path(platform["KUBECONFIG"]).parents[3]),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    name = local_platform.name
    yield Reader(
        tree,
        environment,
        {
            "make demo ": f"{sys.executable} examples/demo.py --name {name} ",
            ". .venv/bin/activate": f". {Path(sys.executable).parent}/activate",
            "kubernaut local env": f"kubernaut local env --name {name}",
            # For a moment the node's proxy still knows the pod of the release before.
            'curl -sS "http://127.0.0.1:$KUBERNAUT_NODE_PORT/"': (
                'timeout 30 bash -c "until curl -sS http://127.0.0.1:$KUBERNAUT_NODE_PORT/ | grep everyone; do sleep 0.1; done"'
            ),
        },
    )
    subprocess.run(
        [sys.executable, "-m", "kubernaut.cli", "delete", "demo.hello-world.current", "--yes"], env=environment | platform
    )


def test_the_commands_of_the_readme_work_in_order(reader: Reader, platform: dict[str, str], tmp_path: Path) -> None:
    (_, demo), (_, tour), (language, library), (_, session) = blocks()
    assert language == "python"

    reader.run(demo)
    toured = reader.run(tour)
    answer = next(json.loads(line) for line in toured.splitlines() if line.startswith('{"'))
    assert answer["greeting"] == "Hello, everyone!"
    assert reader.environment["KUBERNAUT_REGISTRY"] == platform["KUBERNAUT_REGISTRY"]
    port = int(platform["KUBERNAUT_NODE_PORT"])

    script = reader.tree / "script.py"
    script.write_text(library)
    shipped, *listed = reader.run(f"python {script}").splitlines()
    assert re.fullmatch(r"demo\.hello-world\.v\d+ deployed", shipped)
    assert [line.split()[0] for line in listed] == [shipped.split()[0]]
    assert node_port(reader) == port, "the NodePort of the demo is kept"
    script.unlink()

    with serving(reader.environment, reader.tree, tmp_path) as server:
        printed = {"http://127.0.0.1:8080": server.url, "@$HOME/.local/state/kubernaut/token": f"@{server.header_file}"}
        reader.replacements = printed
        for text in printed:
            assert text in session, "the README names the defaults"
        answers = [json.loads(line) for line in reader.run(session).splitlines() if line]
    before, shown, made, deleted, after, restored = answers
    assert [item["id"] for item in before["items"] if item["namespace"] == NAMESPACE] == [shown["id"]]
    assert (made["status"], made["note"], made["revision"]) == ("deployed", "by curl", shown["revision"] + 1)
    assert (deleted["id"], deleted["status"]) == (made["id"], "uninstalled")
    assert [item for item in after["items"] if item["namespace"] == NAMESPACE] == []
    assert (restored["status"], restored["revision"]) == ("deployed", made["revision"] + 1)
    assert node_port(reader) == port


def node_port(reader: Reader) -> Any:
    """Return the port that the current release asks for."""
    reader.replacements = {}
    return json.loads(reader.run("helm get values hello-world -n demo -o json"))["service"]["nodePort"]


def test_a_script_beside_a_clone_called_kubernaut_imports_the_library(tmp_path: Path) -> None:
    (tmp_path / "kubernaut").symlink_to(REPOSITORY)
    script = tmp_path / "deploy.py"
    script.write_text("from kubernaut import Kubernaut\nprint(Kubernaut.__name__)\n")
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "Kubernaut\n"), done.stderr
