"""pytest collects every test file. It skips folders with certain names, and the run would still pass."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Visits folders and files as pytest does, and imports none of the files.
COLLECT = """
import json, sys
import pytest

class Empty(pytest.Module):
    def collect(self):
        return []

class Files:
    def __init__(self):
        self.seen = []

    def pytest_pycollect_makemodule(self, module_path, parent):
        self.seen.append(str(module_path))
        return Empty.from_parent(parent, path=module_path)

files = Files()
status = pytest.main(["--collect-only", "-qq", "-p", "no:cacheprovider", "-p", "pytest_timeout", *sys.argv[2:]], plugins=[files])
with open(sys.argv[1], "w") as file:
    json.dump([int(status), files.seen], file)
"""

# The timeout plugin is the only one whose settings pytest has to know; loading the others takes most of the time.
ENVIRONMENT = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "KUBERNAUT_TEST_JENKINS": "1"}


def uncollected(root: Path, scratch: Path, *options: str) -> list[str]:
    """Return the test files below ``root/tests`` that pytest does not collect, relative to ``root``."""
    found = scratch / "found.json"
    command = [sys.executable, "-c", COLLECT, str(found), *options]
    done = subprocess.run(
        command, cwd=root, env={**os.environ, **ENVIRONMENT}, capture_output=True, text=True, timeout=120, check=False
    )
    assert found.exists(), done.stdout + done.stderr
    status, seen = json.loads(found.read_text())
    assert status == pytest.ExitCode.NO_TESTS_COLLECTED, done.stdout + done.stderr
    on_disk = {path for pattern in ("test_*.py", "*_test.py") for path in (root / "tests").rglob(pattern)}
    return sorted(str(path.relative_to(root)) for path in on_disk - {Path(path) for path in seen})


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A project with this one's settings and a test file in each folder that pytest skips by default."""
    root = tmp_path / "tree"
    for folder in ("unit", "unit/build", "unit/dist", "unit/venv", "unit/node_modules", "unit/CVS"):
        (root / "tests" / folder).mkdir(parents=True)
        (root / "tests" / folder / "test_one.py").write_text("def test_one(): pass\n")
    shutil.copy(ROOT / "pyproject.toml", root)
    return root


def test_every_test_file_is_collected(tmp_path: Path) -> None:
    assert uncollected(ROOT, tmp_path) == []


def test_no_folder_is_skipped_by_its_name(tree: Path, tmp_path: Path) -> None:
    assert uncollected(tree, tmp_path) == []


def test_a_skipped_folder_is_reported(tree: Path, tmp_path: Path) -> None:
    assert uncollected(tree, tmp_path, "-o", "norecursedirs=build") == ["tests/unit/build/test_one.py"]
