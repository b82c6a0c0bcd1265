"""The errors that kubernaut raises.

Each foreseen failure is a :class:`KubernautError` with a stable ``code``, an exit status for the command line, an HTTP status for
the REST API, and a hint for each of the two. This package imports nothing else of kubernaut::

    KubernautError          1 · 500   a defect
    ├── Usage               2 · 400   the command line
    ├── BadInput            3 · 422   files, names or arguments
    ├── NotFound            4 · 404
    ├── Conflict            5 · 409   taken, locked, or changed meanwhile
    ├── DeployFailed        6/7 · 422 the cluster did not accept or did not run the release
    ├── BuildUnsuccessful   10 · 422  a CI server's build ended without success
    ├── Unreachable         8 · 503   a service does not answer
    ├── Forbidden           9 · 403   a service answers and refuses
    └── Interrupted         130 · 499 a signal stopped the work
"""

# ruff: noqa: F403 - each class is listed once, in its module

from kubernaut.errors.base import *
from kubernaut.errors.base import error_classes, from_problem
from kubernaut.errors.domain import *
from kubernaut.errors.http import *

__all__ = ["error_classes", "from_problem"]
__all__ += [kind.__name__ for kind in error_classes() if kind.__module__.startswith(f"{__name__}.")]
