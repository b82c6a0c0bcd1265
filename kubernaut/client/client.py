"""class Client: the verbs, run by a server."""

from __future__ import annotations

import shlex
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from pydantic.alias_generators import to_camel
from typing_extensions import override

from kubernaut._requests import requested_values
from kubernaut.adapters.secret_files import static_token, token_from_file
from kubernaut.ci import CiBuild, build_header, sanitize_build
from kubernaut.client.transport import NO_RETRY, Transport, follow, follow_release, get_operation, iter_events, parse
from kubernaut.deploy.values.set_arguments import merge
from kubernaut.errors import (
    BadInput,
    KubernautError,
    RegistryDenied,
    RegistryUnreachable,
    ReleaseNotCurrent,
    ReleaseNotFound,
    SettingInvalid,
    Unreachable,
    VersionNotFound,
)
from kubernaut.events import Listener, NumberedEvent, ignore_event
from kubernaut.history.detail import Difference, Preview, ReleaseReport
from kubernaut.history.explain import ReleaseExplanation
from kubernaut.history.operations import Operation, is_operation_id
from kubernaut.history.records import GONE, Status
from kubernaut.history.releases import Release, ReleaseHistoryList, ReleaseId, ReleaseList, last_deleted
from kubernaut.interface import (
    Deployed,
    DeployOptions,
    OperationOptions,
    ReleaseOptions,
    ReleaseVerbs,
    RollbackOptions,
    ShipOptions,
    check_options,
)
from kubernaut.models import Model, Plan, check_name, check_namespace, check_release_name

if TYPE_CHECKING:
    from kubernaut.publish.version import PublishedVersions

PAGE_SIZE = 500
_MAX_PAGES = 10_000
_OPERATION = ("note", "timeout", "lock_timeout", "no_hooks")
_WHAT = ("application", "version", "pre", "chart", "digest")
_APPLYING = ("on_conflict", "take_ownership", "always")
_DEPLOY = (*_OPERATION, *_WHAT, *_APPLYING, "environment", "create_namespace", "on_failure", "reuse_values", "skip_crds")


class Client(ReleaseVerbs):
    """The verbs on releases, run by a kubernaut server.

    The methods take, return and raise what those of :class:`kubernaut.Kubernaut` do. A write returns when its operation is
    finished. A request whose response is lost is sent again, and takes effect once.

    Args:
        url: The server's URL, such as ``https://kubernaut.example.com``; ``http://`` only for this machine and the hosts that
            ``plain_http`` allows.
        token_file: A file that only its owner can read, with the line ``Authorization: Bearer TOKEN`` or the token alone.
        token: The token itself, instead of a file.
        timeout: Seconds to wait for each response.
        listener: Receives every event of an operation (:mod:`kubernaut.events`).
        build: The CI build that the server records.
        plain_http: Whether ``http://`` is allowed for a host, ``HOST[:PORT]``.

    Raises:
        SettingInvalid: The URL is invalid, or it sends the token unencrypted to another machine.
    """

    def __init__(
        self,
        url: str,
        *,
        token_file: str | Path | None = None,
        token: str | None = None,
        timeout: float = 30.0,
        listener: Listener = ignore_event,
        build: CiBuild | None = None,
        plain_http: Callable[[str], bool] = lambda _: False,
    ) -> None:
        if token is not None and token_file is not None:
            raise SettingInvalid("token and token_file cannot be combined.")
        source = static_token(token) if token_file is None else token_from_file(Path(token_file))
        self._transport = Transport(url, token=source, timeout=timeout, plain_http=plain_http)
        self._listener = listener
        self._build_header = build_header(sanitize_build(build))

    def close(self) -> None:
        """Close the connections; the next call opens new ones."""
        self._transport.close()

    def ready(self) -> None:
        """Return if the server is ready. Raises: KubernautError: It is not, and why."""
        self._transport.get("/readyz", stop=NO_RETRY)

    # what runs, and what ran

    @override
    def list(
        self,
        *,
        namespace: str | None = None,
        all: bool = False,
        health: bool = False,
        name: str | None = None,
        status: str | None = None,
        version: str | None = None,
    ) -> ReleaseList:
        """Return the active releases of one namespace or of all; with ``all``, every release in the history.

        Args:
            namespace: Only releases in this namespace.
            all: Also releases that are not active.
            health: Have the health of each release read too.
            name: Only releases with this name.
            status: Only releases with this status.
            version: Only releases of this version.
        """
        query = {"namespace": namespace and check_namespace(namespace), "name": name, "status": status, "version": version}
        items = tuple(self._pages({**query, "all": all or None, "health": health or None}))
        return ReleaseList(items=items, count=len(items))

    @override
    def show(self, release: str, *, namespace: str | None = None, revision: int | None = None) -> Release:
        return self._release(ReleaseId.resolve(release, namespace, revision))

    @override
    def history(self, release: str, *, namespace: str | None = None) -> ReleaseHistoryList:
        """Return all releases of a name in a namespace, newest first, without the operations that made none."""
        return parse(ReleaseHistoryList, self._get(ReleaseId.resolve(release, namespace), "/history"))

    @override
    def versions(self, name: str) -> PublishedVersions:
        from kubernaut.publish.version import PublishedVersion, PublishedVersions  # it imports the Docker client

        content = self._transport.get(f"/api/versions/{check_name(name)}").content
        items, foreign = content.get("items"), content.get("foreign")
        versions = [parse(PublishedVersion, item) for item in (items if isinstance(items, list) else ())]
        return PublishedVersions(versions, foreign=map(str, foreign if isinstance(foreign, list) else ()))

    @override
    def manifest(self, release: str, *, namespace: str | None = None, revision: int | None = None) -> str:
        return parse(_Manifest, self._get(ReleaseId.resolve(release, namespace, revision), "/manifest")).manifest

    @override
    def values(
        self, release: str, *, namespace: str | None = None, revision: int | None = None, all: bool = False
    ) -> dict[str, Any]:
        return parse(_Values, self._get(ReleaseId.resolve(release, namespace, revision), "/values", {"all": all or None})).values

    @override
    def diff(self, release: str, to: str | None = None, *, namespace: str | None = None, revision: int | None = None) -> Difference:
        return parse(Difference, self._get(ReleaseId.resolve(release, namespace, revision), "/diff", {"to": to}))

    @override
    def report(self, release: str, *, namespace: str | None = None, revision: int | None = None) -> ReleaseReport:
        return parse(ReleaseReport, self._get(ReleaseId.resolve(release, namespace, revision), "/report"))

    @override
    def explain(self, release: str, *, namespace: str | None = None, revision: int | None = None) -> ReleaseExplanation:
        return parse(ReleaseExplanation, self._get(ReleaseId.resolve(release, namespace, revision), "/explanation"))

    @override
    def operation(self, id: str) -> Operation:
        """Return an operation, without its events. Raises: OperationNotFound."""
        return get_operation(self._transport, id)

    def events(self, id: str, after: int = 0) -> Iterator[NumberedEvent]:
        """Yield the events of an operation as they come, until it is finished.

        Args:
            id: The operation's ID.
            after: Only the events after this number.
        """
        return iter_events(self._transport, id, after)

    @override
    def watch(self, release: str, *, namespace: str | None = None, timeout: float | None = None) -> Deployed:
        if is_operation_id(release):
            return self._result(follow(self._transport, release, self._listener))
        path = f"{_path(ReleaseId.resolve(release, namespace))}/watch"
        page = follow_release(self._transport, path, timeout, self._listener)
        found = self._current(ReleaseId.parse(page.release.id)) if page.release else None
        return Deployed(page.plan or Plan(), page.changed, found or page.release)

    # the verbs that change a release

    @override
    def deploy(self, name: str, *, namespace: str, **options: Unpack[DeployOptions]) -> Deployed:
        release = ReleaseId(check_namespace(namespace), check_release_name(name))
        try:
            return self._write("POST", "/api/releases", release, options, body=deploy_body(release, options))
        except KubernautError as failure:
            if options.get("chart") is not None:
                _name_chart(failure)
            raise

    @override
    def rollback(self, release: str, **options: Unpack[RollbackOptions]) -> Deployed:
        found = _find(release, options)
        target = found if found.revision is not None else self._rollback_target(found)
        return self._write("POST", f"{_path(target)}/rollback", found, options, body=_rollback_fields(options))

    @override
    def delete(self, release: str, **options: Unpack[ReleaseOptions]) -> Deployed:
        found = _find(release, options)
        return self._write("DELETE", _path(found), found, options, query=_release_fields(options))

    @override
    def restore(self, release: str, **options: Unpack[RollbackOptions]) -> Deployed:
        found, fields = _find(release, options), _rollback_fields(options)
        releases = self.history(str(found)).items
        if not releases:
            raise ReleaseNotFound(f"Release {found.name} does not exist in namespace {found.namespace}.")
        current = releases[0]
        if found.revision not in (None, current.revision):
            raise ReleaseNotCurrent(f"{found} is not the current release; {current.id} is.")
        deleted = last_deleted(releases)
        if deleted is None:
            return Deployed(Plan(reason=f"v{current.revision} is not deleted: it is {current.status}"), False, current)
        path = f"{_path(ReleaseId.parse(deleted.id))}/rollback"
        return self._write("POST", path, found, options, body=fields)

    def _write(
        self,
        method: str,
        path: str,
        release: ReleaseId,
        options: OperationOptions,
        *,
        query: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Deployed:
        if_match = options.get("if_match")
        headers = {**self._build_header, **({"If-Match": f'"{if_match}"'} if if_match is not None else {})}
        current = ReleaseId(release.namespace, release.name)
        if options.get("dry_run"):
            response = self._transport.write(method, path, query={**(query or {}), "dryRun": True}, body=body, headers=headers)
            return Deployed(parse(Preview, response.content), False, self._current(current))
        key = {"Idempotency-Key": uuid.uuid4().hex}
        response = self._transport.write(method, path, query=query, body=body, headers={**headers, **key})
        location = response.headers.get("Location", "")
        if not location:
            raise Unreachable(f"{self._transport.url} accepted the request, but does not name its operation.")
        id = location.rpartition("/")[2]
        if not options.get("wait", True):
            operation = self.operation(id)
            return Deployed(operation.plan, False, None, operation)
        return self._result(follow(self._transport, id, self._listener))

    def _result(self, operation: Operation) -> Deployed:
        """Return the result of an operation that has ended well."""
        current = ReleaseId(operation.namespace, operation.name)
        made = ReleaseId.parse(operation.made[0].id) if operation.made else current
        return Deployed(operation.plan, operation.state == "succeeded", self._release(made).model_copy(update={"health": None}))

    def _rollback_target(self, current: ReleaseId) -> ReleaseId:
        """Return the release to name in a rollback: for a deleted one its predecessor, since ``current`` would mean a restore."""
        releases = self.history(str(current)).items
        if not releases or releases[0].status not in GONE:
            return current
        ran = (release for release in releases[1:] if release.status in (Status.DEPLOYED, Status.SUPERSEDED))
        return next((ReleaseId.parse(release.id) for release in ran), current)

    def _current(self, release: ReleaseId) -> Release | None:
        try:
            return self._release(release).model_copy(update={"health": None})
        except ReleaseNotFound:
            return None

    def _release(self, id: ReleaseId) -> Release:
        response = self._transport.get(_path(id))
        release = parse(Release, response.content)
        # The ETag ends with the record's resource version, which the JSON leaves out.
        version = response.headers.get("ETag", "").strip('"').removeprefix(f"{release.uid}-")
        return release.model_copy(update={"resource_version": version})

    def _get(self, release: ReleaseId, path: str, query: Mapping[str, Any] | None = None) -> dict[str, Any]:
        return self._transport.get(f"{_path(release)}{path}", query).content

    def _pages(self, query: Mapping[str, Any]) -> Iterator[Release]:
        """Yield the releases of all pages."""
        cursor: str | None = None
        for _ in range(_MAX_PAGES):
            response = self._transport.get("/api/releases", {**query, "limit": PAGE_SIZE, "cursor": cursor})
            page = parse(ReleaseList, response.content)
            yield from page
            cursor = page.next
            if cursor is None:
                return
        raise Unreachable(f"{self._transport.url} lists more than {_MAX_PAGES} pages of releases; stopped there.")


class _Manifest(Model):
    id: str
    manifest: str


class _Values(Model):
    id: str
    values: dict[str, Any]


def _find(release: str, options: ReleaseOptions) -> ReleaseId:
    return ReleaseId.resolve(release, options.get("namespace"), options.get("revision"))


def _path(release: ReleaseId) -> str:
    return f"/api/releases/{release}"


def _release_fields(options: ReleaseOptions) -> dict[str, Any]:
    """Return the options of a delete as the server takes them. Raises: TypeError."""
    return _fields(options, ReleaseOptions, _OPERATION)


def _rollback_fields(options: RollbackOptions) -> dict[str, Any]:
    """Return the options of a rollback or a restore as the server takes them. Raises: TypeError."""
    return _fields(options, RollbackOptions, (*_OPERATION, "on_conflict", "take_ownership"))


def deploy_body(release: ReleaseId, options: DeployOptions | ShipOptions) -> dict[str, Any]:
    """Return the body of a deploy; files of values are read, and their layers merged.

    Raises:
        TypeError: The server does not take an option.
        BadInput: The chart is not in an OCI registry.
        ValuesInvalid: A file or a ``--set`` is invalid.
    """
    fields = _fields(options, DeployOptions, _DEPLOY)
    _check_chart(fields.get("chart"))
    requested = requested_values(options)
    values: dict[str, Any] = {}
    for layer in requested.layers:
        values = merge(values, layer)
    if values:
        fields["values"] = values
    sets = {"set": requested.sets, "setJson": requested.json_sets, "setString": requested.string_sets}
    fields |= {name: list(texts) for name, texts in sets.items() if texts}
    return {"name": release.name, "namespace": release.namespace, **fields}


def _check_chart(chart: str | Path | None) -> None:
    """Refuse a chart that a server does not deploy. Raises: BadInput."""
    if chart is None:
        return
    from kubernaut.publish.chart_reference import ChartReference, parse_chart

    if isinstance(parse_chart(chart), ChartReference):
        return
    package = shlex.quote(str(chart)) if str(chart).endswith(".tgz") else "PACKAGE.tgz"
    raise BadInput(
        "A server deploys charts of OCI registries only, oci://HOST/PATH:VERSION: it reads no files and no chart repositories.",
        hint=f"Push the chart with `helm push {package} oci://HOST/PATH` and name that, or deploy without a server.",
    )


def _name_chart(failure: KubernautError) -> None:
    """Give an error about a chart the hint about that chart, which only the server knows."""
    from kubernaut.publish.chart_versions import use_chart

    suggested = failure.members.get("suggestedChart")
    if isinstance(suggested, str):
        failure.hint = use_chart(suggested)["hint"]
    elif isinstance(failure, VersionNotFound | RegistryDenied | RegistryUnreachable):
        failure.hint = failure.http_hint


def _fields(options: OperationOptions, known: type, names: Sequence[str]) -> dict[str, Any]:
    check_options(options, known)
    if "operation" in options:
        raise TypeError("unexpected keyword argument 'operation'; a server accepts its operations itself")
    given: Mapping[str, Any] = {**options}
    fields = {to_camel(name): given.get(name) for name in names}
    return {name: value for name, value in fields.items() if value is not None and value is not False}
