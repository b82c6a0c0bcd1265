"""The Helm commands of the verbs, and how one is run: observed, stopped, and with its failure kept for later."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from kubernaut.adapters.helm_warnings import api_warning
from kubernaut.deploy.operations import description_of
from kubernaut.deploy.requests import DeployRequest
from kubernaut.deploy.rollback_objects import comparable, takes_ownership
from kubernaut.errors import KubernautError
from kubernaut.history.records import OPERATION_LABEL, REVISION_LABEL

if TYPE_CHECKING:
    from kubernaut.adapters.helm import Helm
    from kubernaut.deploy.execution import Execution
    from kubernaut.deploy.requests import OperationRequest
    from kubernaut.history.operations import OperationChart
    from kubernaut.history.records import Record
    from kubernaut.models import Action

_APPLIES_ON_SERVER = 4
"""The first version of Helm that applies on the server."""

HelmCommand = Callable[["Helm", dict[str, Any]], None]
"""Runs one Helm command with the keyword arguments that observe and stop it."""


class Checked(Protocol):
    """The checks while Helm runs: of the lock, or of the lock and the rollout."""

    def check(self) -> None:
        """Check once. Raises: KubernautError to stop Helm."""


@contextmanager
def chart_argument(request: DeployRequest) -> Iterator[str]:
    """Yield the chart as Helm takes it: the reference by digest, or the path of the package, a file that exists meanwhile."""
    if request.package is None:
        yield request.chart_ref
        return
    with tempfile.TemporaryDirectory(prefix="kubernaut-chart-") as folder:
        path = Path(folder) / "chart.tgz"
        path.write_bytes(request.package)
        yield str(path)


def deploy_command(request: DeployRequest, execution: Execution, action: Action) -> HelmCommand:
    """Return the command that installs or upgrades the release."""
    operation = execution.operation
    installs = action.kind in ("helm-install", "helm-install-replace")
    baseline = None if installs else execution.history.current
    common: dict[str, Any] = {
        "namespace": request.namespace,
        "values": request.merged_values(execution.history),
        "labels": {OPERATION_LABEL: operation.id, REVISION_LABEL: str(execution.next_revision)},
        "description": description_of(request.version, operation),
        "timeout": request.timeout,
        "no_hooks": request.no_hooks,
        "skip_crds": request.skip_crds,
        "take_ownership": request.take_ownership,
    }
    replaces = action.kind == "helm-install-replace"
    if not replaces:
        common |= {"install": action.kind == "helm-install", "history_max": request.history_max}

    def run(helm: Helm, control: dict[str, Any]) -> None:
        force = request.takes_conflicts and _may_conflict(helm, baseline)
        with chart_argument(request) as chart:
            if replaces:
                helm.install_replace(request.name, chart, force_conflicts=force, **common, **control)
            else:
                helm.upgrade(request.name, chart, force_conflicts=force, **common, **control)

    return run


def rollback_command(request: OperationRequest, execution: Execution, target: Record, chart: OperationChart) -> HelmCommand:
    """Return the command that rolls back to a record, whose chart is then that of the record that Helm makes."""
    execution.rollback_chart = chart
    how: dict[str, Any] = {
        "namespace": target.namespace,
        "timeout": request.timeout,
        "history_max": request.history_max,
        "no_hooks": request.no_hooks,
    }
    # The rollback of a failed deploy must not fail for the same conflict.
    takes = request.takes_conflicts or isinstance(request, DeployRequest)

    def run(helm: Helm, control: dict[str, Any]) -> None:
        force = takes and _may_conflict(helm, target)
        with comparable(execution, target, take_ownership=takes_ownership(request)):
            helm.rollback(target.name, target.revision, force_conflicts=force, **how, **control)

    return run


def _may_conflict(helm: Helm, applied: Record | None) -> bool:
    """Return whether Helm may refuse to write a field of another manager: only Helm 4 does, where it applies on the server.

    Args:
        helm: The Helm.
        applied: The record whose way to apply Helm takes over; ``None`` for an install.
    """
    if applied is not None and not applied.server_side:
        return False
    return int(helm.version().partition(".")[0]) >= _APPLIES_ON_SERVER


def uninstall_command(request: OperationRequest, execution: Execution) -> HelmCommand:
    """Return the command that uninstalls the release and keeps its history."""
    description = description_of("Deleted", execution.operation)
    how: dict[str, Any] = {
        "namespace": request.namespace,
        "timeout": request.timeout,
        "description": description,
        "no_hooks": request.no_hooks,
    }
    return lambda helm, control: helm.uninstall(request.name, **how, **control)


def run_helm(execution: Execution, command: HelmCommand, checked: Checked) -> None:
    """Run one Helm command; its failure is kept for later, because the record decides what is true.

    ``checked.check`` is called again and again while Helm runs, and an error that it raises stops Helm: the lock is lost, the work
    is to be stopped, or the rollout has failed. A warning of the API server becomes a notice, once in an operation.
    """
    execution.helm_failure = None

    def log(line: str) -> None:
        warning = api_warning(line)
        if warning is None:
            execution.step.log(line)
        else:
            execution.notice_once(f"The cluster warns: {warning}")

    try:
        execution.lock.check()
        command(execution.context.helm(), {"log": log, "check": checked.check})
    except KubernautError as failure:
        execution.helm_failure = failure
