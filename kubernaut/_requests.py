"""The requests that ``deploy/`` executes, built from a verb's arguments: names checked, the version found, values read."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kubernaut.errors import BadInput, EnvironmentNotFound, Usage, VersionConflict
from kubernaut.interface import DeployOptions, OperationOptions, ReleaseOptions, ShipOptions, check_options
from kubernaut.models import check_name, check_namespace

if TYPE_CHECKING:
    from kubernaut.context import Context
    from kubernaut.deploy.requests import DeployRequest, OperationRequest
    from kubernaut.deploy.values import Values
    from kubernaut.history.releases import ReleaseId
    from kubernaut.publish.version import ChartVersion, PublishedVersion


def deploy_request(context: Context, name: str, namespace: str, options: DeployOptions) -> DeployRequest:
    """Return the request to deploy a published version or a chart.

    Raises:
        TypeError: An option is unknown, as for Python's own keyword arguments.
        VersionConflict: The chart does not have the expected digest.
    """
    check_options(options, DeployOptions)
    check_namespace(namespace)
    values = requested_values(options)
    version = _find_version(context, check_name(name), options)
    digest = options.get("digest")
    if digest is not None and version.chart.digest != digest:
        raise VersionConflict(
            f"{version.name} {version.version} has changed: expected chart digest {digest}, found {version.chart.digest}.",
            hint="Versions are immutable: find out who published it again, and publish your content under another version.",
        )
    return version_request(context, name, version, namespace, values, options)


def version_request(
    context: Context,
    name: str,
    version: PublishedVersion | ChartVersion,
    namespace: str,
    values: Values,
    options: ShipOptions,
    packaged: Mapping[str, Mapping[str, Any]] | None = None,
) -> DeployRequest:
    """Return the request to deploy a version; ``packaged`` holds its environments' values if it is not in the registry yet."""
    from kubernaut.deploy.requests import DeployRequest

    environment = choose_environment(version.environments, f"{version.name} {version.version}", namespace, options)
    if environment is not None and packaged is None:
        packaged = {environment: context.clients.registry.environment_values(version, environment) or {}}
    return DeployRequest(
        namespace=namespace,
        name=name,
        version=version.version,
        chart_ref=f"oci://{version.repository}@{version.chart.digest}",
        chart_digest=version.chart.digest,
        values=replace(values, environment=(packaged or {})[environment] if environment is not None else {}),
        environment=environment,
        commit=version.source.commit,
        repository=version.source.repository,
        on_failure=options.get("on_failure"),
        create_namespace=options.get("create_namespace", False),
        **operation_settings(context, options),
    )


def preview_request(context: Context, app_dir: str | Path, namespace: str, values: Values, options: ShipOptions) -> DeployRequest:
    """Return the request to deploy a version that is not published yet."""
    from kubernaut.publish.pipeline import preview

    version, packaged = preview(app_dir, version=options.get("version"), context=context.publish_context)
    return version_request(context, version.name, version, namespace, values, options, packaged)


def release_request(
    context: Context, kind: Callable[..., OperationRequest], release: str, options: ReleaseOptions
) -> OperationRequest:
    """Return a request of a kind for an existing release."""
    check_options(options, ReleaseOptions)
    found = release_id(release, options.get("namespace"), options.get("revision"))
    return kind(found.namespace, found.name, revision=found.revision, **operation_settings(context, options))


def check_waits(options: OperationOptions) -> None:
    """Refuse an operation that is not to be waited for: it would end with this process. Raises: Usage."""
    if not options.get("wait", True):
        raise Usage(
            "Without a server nothing continues the operation after the command has ended, so --no-wait cannot be used.",
            hint="Name a server with --server URL, or leave --no-wait out. `kubernaut watch NAME -n NAMESPACE` shows an operation "
            "that runs in another process.",
            http_hint="The operation is always waited for in this process; a server's client takes `wait`.",
        )


def operation_settings(context: Context, options: OperationOptions) -> dict[str, Any]:
    """Return the fields that all requests have, from the options and else from the settings."""
    settings, lock_timeout = context.settings, options.get("lock_timeout")
    return {
        "note": options.get("note"),
        "timeout": options.get("timeout") or settings.timeout,
        "lock_timeout": settings.lock_timeout if lock_timeout is None else lock_timeout,
        "stale_after": settings.stale_after,
        "history_max": settings.history_max,
        "if_match": options.get("if_match"),
    }


def requested_values(options: ShipOptions) -> Values:
    """Return the values of ``values``, ``set`` and ``reuse_values``; files are read. Raises: ValuesInvalid."""
    from kubernaut.deploy.values import read_values

    return read_values(None, options.get("values", ()), options.get("set", ()), reuse=options.get("reuse_values", False))


def choose_environment(known: Collection[str], version: str, namespace: str, options: ShipOptions) -> str | None:
    """Return the environment whose values are used: the requested one, else one named like the namespace.

    Args:
        known: The environments of the version.
        version: The version, for the message.
        namespace: The namespace to deploy to.
        options: May name an environment.

    Raises:
        EnvironmentNotFound: The version has no such environment.
    """
    environment = options.get("environment")
    if environment is None:
        return namespace if namespace in known else None
    if environment not in known:
        raise EnvironmentNotFound(f"{version} has no environment {environment!r}; it has: {', '.join(known) or 'none'}.")
    return environment


def release_id(release: str, namespace: str | None, revision: int | None = None) -> ReleaseId:
    """Return the ID of a release that is given by ID, or by name and namespace. Raises: NameInvalid."""
    from kubernaut.history.releases import ReleaseId

    return ReleaseId.resolve(release, namespace, revision)


def _find_version(context: Context, name: str, options: DeployOptions) -> PublishedVersion | ChartVersion:
    chart, version, pre = options.get("chart"), options.get("version"), options.get("pre", False)
    if chart is None:
        return context.clients.registry.resolve(name, version, pre=pre)
    if version is not None or pre:
        raise BadInput(f"version and pre cannot be combined with the chart {chart}.")
    return context.clients.registry.chart(chart)
