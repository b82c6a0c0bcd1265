"""The requests that ``deploy/`` executes, built from a verb's arguments: names checked, the version found, values read."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kubernaut.errors import BadInput, EnvironmentNotFound, NameInvalid, Usage, VersionConflict
from kubernaut.interface import DeployOptions, OperationOptions, ReleaseOptions, RollbackOptions, ShipOptions, check_options
from kubernaut.models import check_name, check_namespace, check_release_name

if TYPE_CHECKING:
    from kubernaut.context import Context
    from kubernaut.deploy.requests import DeployRequest, OperationRequest
    from kubernaut.deploy.values.layers import Values
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
    version = _find_version(context, check_release_name(name), options)
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
    from kubernaut.publish.version import ChartVersion

    settings = context.settings
    environment = choose_environment(version.environments, f"{version.name} {version.version}", namespace, options)
    if environment is not None and packaged is None:
        packaged = {environment: _environment_values(context, version, environment)}
    return DeployRequest(
        namespace=namespace,
        name=name,
        version=version.version,
        chart_ref=f"oci://{version.repository}@{version.chart.digest}" if version.repository else version.chart.ref,
        chart_digest=version.chart.digest,
        chart_name=version.name,
        package=version.package if isinstance(version, ChartVersion) else None,
        values=replace(values, environment=(packaged or {})[environment] if environment is not None else {}),
        environment=environment,
        commit=version.source.commit,
        repository=version.source.repository,
        on_failure=options.get("on_failure"),
        create_namespace=options.get("create_namespace", False),
        skip_crds=options.get("skip_crds", False),
        chart_bytes=version.size,
        on_conflict=options.get("on_conflict") or (settings.on_conflict if settings.is_given("on_conflict") else None),
        take_ownership=options.get("take_ownership", False),
        always=options.get("always", False),
        **operation_settings(context, options),
    )


def preview_request(
    context: Context, app_dir: str | Path, name: str | None, namespace: str, values: Values, options: ShipOptions
) -> DeployRequest:
    """Return the request to deploy a version that is not published yet; the release has the application's name by default."""
    from kubernaut.publish.pipeline import preview

    version, packaged = preview(app_dir, version=options.get("version"), context=context.publish_context)
    return version_request(context, name or version.name, version, namespace, values, options, packaged)


def release_request(
    context: Context, kind: Callable[..., OperationRequest], release: str, options: ReleaseOptions | RollbackOptions
) -> OperationRequest:
    """Return a request of a kind for an existing release."""
    check_options(options, RollbackOptions if hasattr(kind, "on_conflict") else ReleaseOptions)
    found = release_id(release, options.get("namespace"), options.get("revision"))
    more: dict[str, Any] = {name: chosen for name in ("on_conflict", "take_ownership") if (chosen := options.get(name))}
    return kind(found.namespace, found.name, revision=found.revision, **more, **operation_settings(context, options))


def check_ship(app_dir: str | Path, name: str | None, namespace: str, options: ShipOptions) -> Values:
    """Check the arguments of the deploy in a ship, and return its values: what cannot be deployed is not published.

    Raises:
        TypeError: An option is unknown.
        BadInput: A name, the application or its values are invalid.
        EnvironmentNotFound: The application has no such environment.
    """
    from kubernaut.publish.application import load_application

    check_options(options, ShipOptions)
    check_waits(options)
    check_namespace(namespace)
    values = requested_values(options)
    application = load_application(Path(app_dir))
    check_release_name(name or application.name)
    choose_environment(application.environments, str(app_dir), namespace, options)
    return values


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
        "no_hooks": options.get("no_hooks", False),
    }


def requested_values(options: ShipOptions) -> Values:
    """Return the values of ``values``, the ``set…`` options and ``reuse_values``; files are read. Raises: ValuesInvalid."""
    from kubernaut.deploy.values.layers import read_values

    return read_values(
        None,
        options.get("values", ()),
        options.get("set", ()),
        reuse=options.get("reuse_values", False),
        json_sets=options.get("set_json", ()),
        string_sets=options.get("set_string", ()),
        file_sets=options.get("set_file", ()),
        literal_sets=options.get("set_literal", ()),
    )


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
    application, clients = options.get("application"), context.clients
    if chart is None:
        return clients.registry.resolve(_application(name) if application is None else check_name(application), version, pre=pre)
    if version is not None or pre or application is not None:
        raise BadInput(
            "A chart reference cannot be combined with an application, a version or --pre.",
            hint="Write the version into the reference, such as oci://HOST/PATH:1.4.2, and only the release's name before --chart.",
            http_hint="Write the version into the reference, such as oci://HOST/PATH:1.4.2, and leave the others out.",
        )
    from kubernaut.publish.charts import find_chart

    return find_chart(chart, registry=clients.registry, repositories=clients.chart_repositories, helm=lambda: clients.helm)


def _application(release: str) -> str:
    """Return the application of a release that names no other. Raises: NameInvalid."""
    if "." not in release:
        return check_name(release)
    raise NameInvalid(
        f"No application is called {release}, because the name contains a dot.",
        hint=f"Name the application, `kubernaut deploy APPLICATION --name {release} -n NAMESPACE`, or a chart, "
        f"`kubernaut deploy {release} --chart REF -n NAMESPACE`.",
        http_hint="Send `application` or `chart` too.",
    )


def _environment_values(context: Context, version: PublishedVersion | ChartVersion, environment: str) -> Mapping[str, Any]:
    from kubernaut.publish.version import ChartVersion

    if isinstance(version, ChartVersion) and version.package is not None:
        from kubernaut.publish.chart_package import packaged_values

        return packaged_values(version, environment)
    return context.clients.registry.environment_values(version, environment) or {}
