"""From a source folder to a running release on Kubernetes.

>>> from kubernaut import Kubernaut
>>> Kubernaut().ship("examples/hello-world", namespace="demo").release.id    # doctest: +SKIP
'demo.hello-world.v1'

The public API is what this package exports, and ``kubernaut.errors``, ``kubernaut.events``, ``kubernaut.client`` and
``kubernaut.testing``; docs/library.md describes it. All other modules are internal and may change.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kubernaut.api import Kubernaut
    from kubernaut.ci import CiBuild
    from kubernaut.errors import KubernautError
    from kubernaut.interface import Built, Deployed, Published
    from kubernaut.models import Action, Plan
    from kubernaut.settings import Settings, load_settings

_MODULES = {
    "Action": "models",
    "Built": "interface",
    "CiBuild": "ci",
    "Deployed": "interface",
    "Kubernaut": "api",
    "KubernautError": "errors",
    "Plan": "models",
    "Published": "interface",
    "Settings": "settings",
    "load_settings": "settings",
}

__all__ = [
    "Action",
    "Built",
    "CiBuild",
    "Deployed",
    "Kubernaut",
    "KubernautError",
    "Plan",
    "Published",
    "Settings",
    "load_settings",
]


def __getattr__(name: str) -> Any:
    """Import what is used first: ``kubernaut --help`` and shell completion need none of it."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
