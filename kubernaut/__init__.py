"""From a source folder to a running release on Kubernetes.

>>> from kubernaut import Kubernaut
>>> Kubernaut().ship("examples/hello-world", namespace="demo").release.id    # doctest: +SKIP
'demo.hello-world.v1'

The public API is what this package exports, and ``kubernaut.errors``, ``kubernaut.events``, ``kubernaut.client`` and
``kubernaut.testing``; docs/library.md describes it. All other modules are internal and may change.
"""

from kubernaut.api import Kubernaut
from kubernaut.ci import CiBuild
from kubernaut.errors import KubernautError
from kubernaut.interface import Built, Deployed, Published
from kubernaut.models import Action, Plan
from kubernaut.settings import Settings, load_settings

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
