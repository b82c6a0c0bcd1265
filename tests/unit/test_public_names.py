"""`__all__` lists the public names in order, and each is defined and documented."""

from __future__ import annotations

import inspect
import subprocess
import sys
from types import ModuleType

import kubernaut


def test_all_is_sorted_and_complete() -> None:
    assert kubernaut.__all__ == sorted(kubernaut.__all__)
    public = {
        name
        for name, value in vars(kubernaut).items()
        if not name.startswith("_")
        and not isinstance(value, ModuleType)
        and getattr(value, "__module__", "").startswith("kubernaut")
    }
    assert public <= set(kubernaut.__all__)
    assert all(hasattr(kubernaut, name) for name in kubernaut.__all__)


def test_every_public_name_has_a_docstring() -> None:
    for name in kubernaut.__all__:
        value = getattr(kubernaut, name)
        assert (inspect.getdoc(value) or "").strip(), name
        for method, member in inspect.getmembers(value, inspect.isfunction):
            if not method.startswith("_") and member.__module__.startswith("kubernaut"):
                assert (inspect.getdoc(member) or "").strip(), f"{name}.{method}"


def test_importing_the_package_imports_no_client() -> None:
    script = "import sys, kubernaut; kubernaut.Kubernaut; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not {"docker", "pyhelm3", "lightkube", "requests", "bottle", "click", "rich"} & set(done.stdout.split())


def test_importing_the_rest_client_imports_no_other_client() -> None:
    script = "import sys, kubernaut.client; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not {"docker", "pyhelm3", "lightkube", "bottle", "click", "rich"} & set(done.stdout.split())
