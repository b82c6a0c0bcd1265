"""class Client: the verbs, by way of a server."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from kubernaut.adapters.secret_files import static_token, token_from_file
from kubernaut.ci import CiBuild, build_header, cleaned
from kubernaut.client.operations import follow, operation_of, said
from kubernaut.client.reading import SaidEvent, read
from kubernaut.client.requests import deploy_body, how, last_deleted, last_run
from kubernaut.client.transport import ONCE, Exchange
from kubernaut.errors import ReleaseNotCurrent, ReleaseNotFound, SettingInvalid, Unreachable
from kubernaut.events import Listener, ignore
from kubernaut.history.detail import ReleaseReport
from kubernaut.history.diff import Difference
from kubernaut.history.operations import Operation
from kubernaut.history.records import GONE
from kubernaut.history.releases import Release, ReleaseHistoryList, ReleaseId, ReleaseList
from kubernaut.interface import Deployed, DeployOptions, Options
from kubernaut.models import Model, Plan
from kubernaut.names import check_name, check_namespace

if TYPE_CHECKING:
    from kubernaut.publish.registry import PublishedVersion

PAGE = 500
_MOST_PAGES = 10_000


class Client:
    """What runs where, and the verbs that change it, carried out by a kubernaut server.

    The methods are called, take and return what those of :class:`kubernaut.Kubernaut` do. A write is followed until it has ended; a
    request whose answer is lost is sent again, and is carried out once.

    Args:
        url: Where the server is, such as ``https://kubernaut.example.com``; ``http://`` only for this machine and for what
            ``plain_http`` names.
        token_file: A file that only its owner may read, with the line ``Authorization: Bearer TOKEN`` or the token alone.
        token: Instead of a file, the token itself.
        timeout: Seconds to wait for each answer.
        listener: Is told of every step (:mod:`kubernaut.events`).
        build: The CI build that asks; the server records it.
        plain_http: Says of a host, ``HOST[:PORT]``, that it may be spoken to without TLS.

    Raises:
        SettingInvalid: The address is none, or what is sent there could be read on the way.
    """

    def __init__(
        self,
        url: str,
        *,
        token_file: str | Path | None = None,
        token: str | None = None,
        timeout: float = 30.0,
        listener: Listener = ignore,
        build: CiBuild | None = None,
        plain_http: Callable[[str], bool] = lambda _: False,
    ) -> None:
        if token is not None and token_file is not None:
            raise SettingInvalid("A token and a file with a token are given; one of them is enough.")
        source = static_token(token) if token_file is None else token_from_file(Path(token_file))
        self._exchange = Exchange(url, token=source, timeout=timeout, plain_http=plain_http)
        self._listener = listener
        self._about = build_header(cleaned(build))

    def close(self) -> None:
        """Close the connections; the next call opens new ones."""
        self._exchange.close()

    def ready(self) -> None:
        """Return if the server knows what is in its cluster. Raises: KubernautError: Why it does not."""
        self._exchange.get("/readyz", stop=ONCE)

    # the history

    def list(
        self,
        *,
        namespace: str | None = None,
        all: bool = False,
        name: str | None = None,
        status: str | None = None,
        version: str | None = None,
    ) -> ReleaseList:
        """Return the active releases of a namespace or of all; with ``all`` every release in the history.

        Args:
            namespace: Only in this one.
            all: Those too that are not active.
            name: Only of this name.
            status: Only of this status.
            version: Only of this version.
        """
        wanted = {"namespace": namespace and check_namespace(namespace), "name": name, "status": status, "version": version}
        items = tuple(self._all({**wanted, "all": all or None}))
        return ReleaseList(items=items, count=len(items))

    def show(self, release: str, *, namespace: str | None = None, revision: int | None = None) -> Release:
        """Return one release; of a name, the current one."""
        return self._release(ReleaseId.resolve(release, namespace, revision))

    def history(self, release: str, *, namespace: str | None = None) -> ReleaseHistoryList:
        """Return all releases of a name in a namespace, newest first; the attempts that made none are not told."""
        found = ReleaseId.resolve(release, namespace)
        return read(ReleaseHistoryList, self._exchange.get(f"{_path(found)}/history").content)

    def versions(self, name: str) -> Sequence[PublishedVersion]:
        """Return the published versions of an application, newest first."""
        from kubernaut.publish.registry import PublishedVersion  # it comes with the engine's library

        reply = self._exchange.get(f"/api/versions/{check_name(name)}")
        return tuple(read(PublishedVersion, item) for item in _items(reply.content))

    def manifest(self, release: str, *, namespace: str | None = None, revision: int | None = None) -> str:
        """Return what was applied for a release, as YAML, its hooks last; what is secret is masked."""
        found = ReleaseId.resolve(release, namespace, revision)
        return read(_Manifest, self._exchange.get(f"{_path(found)}/manifest").content).manifest

    def values(
        self, release: str, *, namespace: str | None = None, revision: int | None = None, all: bool = False
    ) -> dict[str, Any]:
        """Return the values that a release was deployed with, with ``all`` over the chart's own; what is secret is masked."""
        found = ReleaseId.resolve(release, namespace, revision)
        return read(_Values, self._exchange.get(f"{_path(found)}/values", {"all": all or None}).content).values

    def diff(self, release: str, to: str | None = None, *, namespace: str | None = None, revision: int | None = None) -> Difference:
        """Return what a release changed: how it differs from the one before it; or what going from it to another would change.

        Args:
            release: Which one.
            to: The other one: an id, or a revision of the same name.
            namespace: Its namespace, unless ``release`` is an id.
            revision: Which revision of the name; the current one by default.
        """
        found = ReleaseId.resolve(release, namespace, revision)
        return read(Difference, self._exchange.get(f"{_path(found)}/diff", {"to": to}).content)

    def report(self, release: str, *, namespace: str | None = None, revision: int | None = None) -> ReleaseReport:
        """Return a release and the operation that made it, with what was said on the way."""
        found = ReleaseId.resolve(release, namespace, revision)
        return read(ReleaseReport, self._exchange.get(f"{_path(found)}/report").content)

    def operation(self, id: str) -> Operation:
        """Return an attempt to write, without its events."""
        return operation_of(self._exchange, id)

    def events(self, id: str, after: int = 0) -> Iterator[SaidEvent]:
        """Yield what an operation says, as it says it, until it has ended.

        Args:
            id: The operation's.
            after: Only what comes after the event of this number.
        """
        return said(self._exchange, id, after)

    # the verbs that change a release

    def deploy(
        self,
        name: str,
        *,
        namespace: str,
        version: str | None = None,
        pre: bool = False,
        chart: str | None = None,
        digest: str | None = None,
        **options: Unpack[DeployOptions],
    ) -> Deployed:
        """Put a published version into a namespace, and wait until it runs.

        Args:
            name: The application's name; the release is called the same.
            namespace: Where to.
            version: Which one; the newest stable by default.
            pre: Without a version: the newest at all.
            chart: Instead of a version: ``oci://HOST/REPOSITORY:TAG`` or ``…@sha256:…``, of a registry that the server allows.
            digest: The digest that the chart must have; refused when it is another (``VersionConflict``).
            options: How, see :class:`DeployOptions`; files of values are read here.

        Raises:
            DeployRolledBack: The release failed, and the one before it runs again.
            DeployKept: The release failed, and is left as it is.
        """
        wanted = ReleaseId(check_namespace(namespace), check_name(name))
        body = deploy_body(wanted, version=version, pre=pre, chart=chart, digest=digest, options=options)
        return self._write("POST", "/api/releases", wanted, options, body=body)

    def rollback(
        self, release: str, *, namespace: str | None = None, revision: int | None = None, **options: Unpack[Options]
    ) -> Deployed:
        """Make a new release with an older one's chart and values; by default the one that ran before the current one."""
        found = ReleaseId.resolve(release, namespace, revision)
        target = found if found.revision is not None else self._before(found)
        return self._write("POST", f"{_path(target)}/rollback", found, options, body=how(options))

    def delete(
        self, release: str, *, namespace: str | None = None, revision: int | None = None, **options: Unpack[Options]
    ) -> Deployed:
        """Delete the current release softly: the workload goes, the history stays, and :meth:`restore` brings it back.

        Raises:
            ReleaseNotCurrent: ``revision``, or the id's, is not the current one.
        """
        found = ReleaseId.resolve(release, namespace, revision)
        return self._write("DELETE", _path(found), found, options, query=how(options))

    def restore(
        self, release: str, *, namespace: str | None = None, revision: int | None = None, **options: Unpack[Options]
    ) -> Deployed:
        """Bring the current release back after a soft delete, as it was.

        Raises:
            ReleaseNotCurrent: ``revision``, or the id's, is not the current one.
        """
        found = ReleaseId.resolve(release, namespace, revision)
        records = self.history(str(found)).items
        if not records:
            raise ReleaseNotFound(f"There is no release {found.name} in the namespace {found.namespace}.")
        current = records[0]
        if found.revision not in (None, current.revision):
            raise ReleaseNotCurrent(f"{found} is not the current release; {current.id} is.")
        deleted = last_deleted(records)
        if deleted is None:
            return Deployed(Plan(reason=f"v{current.revision} is not deleted: it is {current.status}"), False, current)
        target = ReleaseId.parse(deleted.id)
        return self._write("POST", f"{_path(target)}/rollback", found, options, body=how(options))

    def _write(
        self,
        method: str,
        path: str,
        wanted: ReleaseId,
        options: Options,
        *,
        query: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Deployed:
        if_match = options.get("if_match")
        headers = {**self._about, **({"If-Match": f'"{if_match}"'} if if_match is not None else {})}
        current = ReleaseId(wanted.namespace, wanted.name)
        if options.get("dry_run"):
            reply = self._exchange.write(method, path, query={**(query or {}), "dryRun": True}, body=body, headers=headers)
            return Deployed(read(Plan, reply.content), False, self._current(current))
        key = {"Idempotency-Key": uuid.uuid4().hex}
        reply = self._exchange.write(method, path, query=query, body=body, headers={**headers, **key})
        ended = follow(self._exchange, _operation(reply.headers), self._listener)
        made = ReleaseId.parse(ended.made[0].id) if ended.made else current
        return Deployed(ended.plan, ended.state == "succeeded", self._release(made))

    def _before(self, current: ReleaseId) -> ReleaseId:
        """Return what goes back to before the current release; of one that is deleted the server would understand: restore it."""
        records = self.history(str(current)).items
        target = last_run(records) if records and records[0].status in GONE else None
        return ReleaseId.parse(target.id) if target else current

    def _current(self, wanted: ReleaseId) -> Release | None:
        try:
            return self._release(wanted)
        except ReleaseNotFound:
            return None

    def _release(self, wanted: ReleaseId) -> Release:
        reply = self._exchange.get(_path(wanted))
        release = read(Release, reply.content)
        # The ETag ends with what the JSON leaves out: which state of the record this is.
        state = reply.headers.get("ETag", "").strip('"').removeprefix(f"{release.uid}-")
        return release.model_copy(update={"resource_version": state})

    def _all(self, query: Mapping[str, Any]) -> Iterator[Release]:
        """Yield the releases of all pages."""
        cursor: str | None = None
        for _ in range(_MOST_PAGES):
            page = read(ReleaseList, self._exchange.get("/api/releases", {**query, "limit": PAGE, "cursor": cursor}).content)
            yield from page.items
            cursor = page.next
            if cursor is None:
                return
        raise Unreachable(f"{self._exchange.url} has more than {_MOST_PAGES} pages of releases; that is not believed.")


class _Manifest(Model):
    id: str
    manifest: str


class _Values(Model):
    id: str
    values: dict[str, Any]


def _path(release: ReleaseId) -> str:
    return f"/api/releases/{release}"


def _items(content: Mapping[str, Any]) -> list[Any]:
    items = content.get("items")
    return items if isinstance(items, list) else []


def _operation(headers: Mapping[str, str]) -> str:
    """Return the id of the operation that a write was answered with."""
    location = headers.get("Location", "")
    if not location:
        raise Unreachable("The server took the request, and does not say which operation carries it out.")
    return location.rpartition("/")[2]
