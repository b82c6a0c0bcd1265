"""What a verb is given becomes what ``deploy/`` is told: names are checked, the version is found, the values are read.

Nothing is written here, and no release is looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kubernaut.errors import BadInput, EnvironmentNotFound, VersionConflict
from kubernaut.interface import DeployOptions, Options
from kubernaut.names import check_name, check_namespace

if TYPE_CHECKING:
    from kubernaut.context import Context
    from kubernaut.deploy.requests import DeployRequest, OperationRequest
    from kubernaut.deploy.values import Wish
    from kubernaut.history.releases import ReleaseId
    from kubernaut.publish.registry import ChartVersion, PublishedVersion
    from kubernaut.settings import Settings


class RequestBuilder:
    """Reads what the verbs are given.

    Args:
        settings: What is meant where nothing is said.
        connections: The registry is asked for versions.
    """

    def __init__(self, settings: Settings, connections: Context) -> None:
        self._settings = settings
        self._connections = connections

    def deploy(
        self,
        name: str,
        namespace: str,
        version: str | None,
        pre: bool,
        chart: str | None,
        digest: str | None,
        options: DeployOptions,
    ) -> DeployRequest:
        """Return the deploy of a version, or of a chart; of the very one that has a digest, where one is given."""
        check_namespace(namespace)
        wish = wish_of(options)
        found = self._find(check_name(name), version, pre, chart)
        if digest is not None and found.chart.digest != digest:
            raise VersionConflict(
                f"{found.name} {found.version} is another one now: its chart is {found.chart.digest}, and {digest} was meant.",
                hint="A version is immutable: find out who published it anew, and publish yours under another number.",
            )
        return self.deploy_of(name, found, namespace, wish, options)

    def deploy_of(
        self, name: str, found: PublishedVersion | ChartVersion, namespace: str, wish: Wish, options: DeployOptions
    ) -> DeployRequest:
        """Return the deploy of what was found in a registry."""
        environment = choose_environment(found.environments, f"{found.name} {found.version} was", namespace, options)
        values = environment and self._connections.registry.environment_values(found, environment)
        return self._deploy(name, found, namespace, environment, replace(wish, environment=values or {}), options)

    def preview(
        self, app_dir: str | Path, version: str | None, namespace: str, wish: Wish, options: DeployOptions
    ) -> DeployRequest:
        """Return the deploy of a version that is not published yet."""
        from kubernaut.publish.pipeline import preview

        intended, environments = preview(app_dir, version=version, tools=self._connections.publishing)
        environment = choose_environment(intended.environments, f"{intended.name} {intended.version} would be", namespace, options)
        wish = replace(wish, environment=environments[environment] if environment else {})
        return self._deploy(intended.name, intended, namespace, environment, wish, options)

    def about(
        self, kind: Callable[..., OperationRequest], release: str, namespace: str | None, revision: int | None, options: Options
    ) -> OperationRequest:
        """Return what is wanted of a release that exists."""
        found = find(release, namespace, revision)
        return kind(found.namespace, found.name, revision=found.revision, **self.how(options))

    def how(self, options: Options) -> dict[str, Any]:
        """Return what all verbs want alike."""
        lock_timeout = options.get("lock_timeout")
        return {
            "note": options.get("note"),
            "timeout": options.get("timeout") or self._settings.timeout,
            "lock_timeout": self._settings.lock_timeout if lock_timeout is None else lock_timeout,
            "stale_after": self._settings.stale_after,
            "history_max": self._settings.history_max,
            "if_match": options.get("if_match"),
        }

    def _find(self, name: str, version: str | None, pre: bool, chart: str | None) -> PublishedVersion | ChartVersion:
        if chart is None:
            return self._connections.registry.resolve(name, version, pre=pre)
        if version is not None or pre:
            raise BadInput(f"{chart} is one chart already: no version of {name} can be asked for beside it.")
        return self._connections.registry.chart(chart)

    def _deploy(
        self,
        name: str,
        found: PublishedVersion | ChartVersion,
        namespace: str,
        environment: str | None,
        wish: Wish,
        options: DeployOptions,
    ) -> DeployRequest:
        from kubernaut.deploy.requests import DeployRequest

        return DeployRequest(
            namespace=namespace,
            name=name,
            version=found.version,
            chart_ref=f"oci://{found.repository}@{found.chart.digest}",
            chart_digest=found.chart.digest,
            wish=wish,
            environment=environment,
            commit=found.source.commit,
            repository=found.source.repository,
            on_failure=options.get("on_failure"),
            create_namespace=options.get("create_namespace", False),
            **self.how(options),
        )


def wish_of(options: DeployOptions) -> Wish:
    """Return what is wished beside the environment's values. Raises: TypeError, as Python does for arguments that nobody knows."""
    from kubernaut.deploy.values import read_wish

    _check_known(options, DeployOptions)
    return read_wish(None, options.get("values", ()), options.get("set", ()), reuse=options.get("reuse_values", False))


def choose_environment(known: Collection[str], version: str, namespace: str, options: DeployOptions) -> str | None:
    """Return the environment that is asked for; else the one called like the namespace, if there is one."""
    environment = options.get("environment")
    if environment is None:
        return namespace if namespace in known else None
    if environment not in known:
        names = ", ".join(known) or "none"
        raise EnvironmentNotFound(f"{version} published without values for {environment!r}; it has: {names}.")
    return environment


def find(release: str, namespace: str | None, revision: int | None = None) -> ReleaseId:
    """Return what a person's words for a release mean."""
    from kubernaut.history.releases import ReleaseId

    return ReleaseId.resolve(release, namespace, revision)


def _check_known(options: Mapping[str, Any], known: type) -> None:
    names = (*Options.__annotations__, *known.__annotations__)
    for name in options:
        if name not in names:
            raise TypeError(f"unexpected keyword argument {name!r}; {known.__name__} has {', '.join(dict.fromkeys(names))}")
