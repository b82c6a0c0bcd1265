"""The codec of Helm's release records. Pure: from a Secret, as the Kubernetes API returns it, to a :class:`Record`.

Helm keeps one Secret per revision, ``sh.helm.release.v1.NAME.vN``: its labels hold name, revision and status, its data the release
as JSON, gzipped, in base64 twice. Content is decoded on first use. A record that cannot be decoded has ``damaged`` set and raises
nothing, since one damaged record must not hide the others.

A set-aside copy, which exists while :mod:`kubernaut.history.repair` recreates its record, is decoded as that record.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import json
import re
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from functools import cached_property
from typing import Any

SECRET_TYPE = "helm.sh/release.v1"  # noqa: S105 - a type's name
HELM_OWNER = "helm"
OPERATION_LABEL = "kubernaut/operation"
REVISION_LABEL = "kubernaut/revision"
KUBERNAUT_OWNER = "kubernaut"
"""The ``owner`` label of kubernaut's own Secrets, which Helm does not list."""
ASIDE_TYPE = "kubernaut/record.v1"
ASIDE_LABEL = "kubernaut/set-aside"
"""Marks a set-aside copy; the annotation of the same name holds the metadata of the record's Secret."""
NAMED = "# kubernaut: named for a rollback, not part of this revision"
"""The comment of an object that is named in the record that Helm compares a rollback with, while Helm runs."""

_NAMED = re.compile(rf"\n---\n{re.escape(NAMED)}\napiVersion: .*\nkind: .*\nmetadata: .*")
_SECRET_NAME = re.compile(r"sh\.helm\.release\.v1\.(?P<name>.+)\.v(?P<revision>[0-9]+)")
_ASIDE_NAME = re.compile(r"kubernaut\.aside\.(?P<name>.+)\.v(?P<revision>[0-9]+)")
_LARGEST_CONTENT = 64 << 20
_LARGEST_PACKED = 16 << 20
_FAILED = ("Upgrade", "Release", "Rollback")
_NO_TIME = "0001-01-01T00:00:00Z"


class Status(StrEnum):
    """Helm's status words."""

    UNKNOWN = "unknown"
    DEPLOYED = "deployed"
    UNINSTALLED = "uninstalled"
    SUPERSEDED = "superseded"
    FAILED = "failed"
    UNINSTALLING = "uninstalling"
    PENDING_INSTALL = "pending-install"
    PENDING_UPGRADE = "pending-upgrade"
    PENDING_ROLLBACK = "pending-rollback"


PENDING = frozenset({Status.PENDING_INSTALL, Status.PENDING_UPGRADE, Status.PENDING_ROLLBACK})
GONE = frozenset({Status.UNINSTALLED, Status.UNINSTALLING})


@dataclass(frozen=True)
class Record:
    """One revision in Helm's release history.

    Attributes:
        labelled_status: The status label, by which Helm selects records; :attr:`status` is the one that Helm shows.
        secret: The Secret's name.
        payload: The encoded content; empty when only the metadata was read.
        modified: When the Secret was last written, by the API server's clock; Helm copies its own label to later revisions.
        immutable: Whether the API server refuses changes of the content.
        aside: Whether it was decoded from a set-aside copy; then only ``resource_version`` is the copy's.
    """

    namespace: str
    name: str
    revision: int
    labelled_status: str
    secret: str
    uid: str
    resource_version: str
    created: str
    labels: Mapping[str, str] = field(hash=False)
    payload: str = field(default="", repr=False)
    modified: str = ""
    immutable: bool = False
    aside: bool = False

    @property
    def aside_secret(self) -> str:
        """The name of the Secret of its set-aside copy."""
        return f"kubernaut.aside.{self.name}.v{self.revision}"

    @property
    def id(self) -> str:
        """The release's ID."""
        return f"{self.namespace}.{self.name}.v{self.revision}"

    @property
    def etag(self) -> str:
        """The UID and the resource version."""
        return f"{self.uid}-{self.resource_version}"

    @property
    def operation_id(self) -> str | None:
        """The operation that made it; ``None`` where plain Helm or a rollback copied the labels from another revision."""
        return self.labels.get(OPERATION_LABEL) if self.labels.get(REVISION_LABEL) == str(self.revision) else None

    @cached_property
    def _decoded(self) -> tuple[dict[str, Any], str | None]:
        if not self.payload:
            return {}, "its Secret contains no release"
        try:
            return _decode(self.payload), None
        except (binascii.Error, ValueError, OSError, EOFError, zlib.error, RecursionError) as error:
            return {}, f"its content cannot be decoded: {error}"

    @property
    def content(self) -> Mapping[str, Any]:
        """The release as Helm stores it; empty for a damaged record."""
        return self._decoded[0]

    @property
    def damaged(self) -> str | None:
        """Why the content cannot be read, if it cannot."""
        return self._decoded[1]

    @property
    def status(self) -> str:
        """The status that Helm shows: the content's, or the label's where there is no content."""
        return str(self.info.get("status") or self.labelled_status or Status.UNKNOWN)

    @property
    def info(self) -> Mapping[str, Any]:
        """Helm's ``info``: first_deployed, last_deployed, deleted, description, status, notes."""
        return as_mapping(self.content.get("info"))

    @property
    def description(self) -> str:
        """The description in ``helm history``."""
        return str(self.info.get("description") or "")

    @property
    def has_failed(self) -> bool:
        """Whether it failed, even if Helm marked it superseded later, as it does once an upgrade or a rollback follows."""
        words = tuple(f'{verb} "{self.name}" failed: ' for verb in _FAILED)
        return self.status == Status.FAILED or (self.status == Status.SUPERSEDED and self.description.startswith(words))

    @property
    def deployed_at(self) -> str | None:
        """When this revision was made; RFC 3339."""
        return _time(self.info.get("last_deployed"))

    @property
    def deleted_at(self) -> str | None:
        """When it was deleted; kept when the release is deployed again later."""
        return _time(self.info.get("deleted"))

    @property
    def chart(self) -> Mapping[str, Any]:
        """The chart's ``Chart.yaml``."""
        return as_mapping(as_mapping(self.content.get("chart")).get("metadata"))

    @property
    def annotations(self) -> Mapping[str, str]:
        """The chart's annotations."""
        return _texts(self.chart.get("annotations"))

    @property
    def defaults(self) -> Mapping[str, Any]:
        """The chart's default values."""
        return as_mapping(as_mapping(self.content.get("chart")).get("values"))

    @property
    def config(self) -> Mapping[str, Any]:
        """The values that override the chart's."""
        return as_mapping(self.content.get("config"))

    @property
    def server_side(self) -> bool:
        """Whether Helm 4 applied it on the server, where a field of another manager is a conflict."""
        return self.content.get("apply_method") == "ssa"

    @property
    def manifest(self) -> str:
        """The applied YAML documents, without objects that are only named for a rollback."""
        text = str(self.content.get("manifest") or "")
        return _NAMED.sub("", text) if NAMED in text else text

    @property
    def has_named_objects(self) -> bool:
        """Whether its stored manifest names objects for a rollback that are not part of it."""
        return NAMED in str(self.content.get("manifest") or "")


def decode(secret: Mapping[str, Any]) -> Record | None:
    """Return the record of a Secret, whole or metadata only, or of a set-aside copy; ``None`` for any other Secret."""
    metadata = as_mapping(secret.get("metadata"))
    labels = _texts(metadata.get("labels"))
    aside = labels.get("owner") == KUBERNAUT_OWNER and ASIDE_LABEL in labels
    own = original_metadata(secret) if aside else metadata
    labels = _texts(own.get("labels"))
    match = _SECRET_NAME.fullmatch(str(own.get("name", "")))
    if match is None or labels.get("owner") != HELM_OWNER:
        return None
    return Record(
        namespace=str(metadata.get("namespace", "")),
        name=match["name"],
        revision=int(match["revision"]),
        labelled_status=labels.get("status", ""),
        secret=match[0],
        uid=str(own.get("uid", "")),
        resource_version=str(metadata.get("resourceVersion", "")),
        created=str(own.get("creationTimestamp", "")),
        labels=labels,
        payload=str(as_mapping(secret.get("data")).get("release") or ""),
        modified=modification_time(own),
        immutable=secret.get("immutable") is True,
        aside=aside,
    )


def original_metadata(copy: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the metadata of the record of a set-aside copy; without the annotation, what the copy's name contains."""
    metadata = as_mapping(copy.get("metadata"))
    noted = _json(_texts(metadata.get("annotations")).get(ASIDE_LABEL, ""))
    match = _ASIDE_NAME.fullmatch(str(metadata.get("name", "")))
    if noted or match is None:
        return noted
    labels = {"name": match["name"], "owner": HELM_OWNER, "version": match["revision"]}
    return {"name": secret_name(match["name"], match["revision"]), "labels": labels}


def secret_name(name: str, revision: int | str) -> str:
    """Return the name of the Secret of a revision."""
    return f"sh.helm.release.v1.{name}.v{revision}"


def modification_time(metadata: Mapping[str, Any]) -> str:
    """Return when an object was last written, by the API server's clock; empty if unknown."""
    writers = metadata.get("managedFields") or ()
    return max((str(writer.get("time") or "") for writer in writers), default="")


def parse_time(text: str | None) -> datetime | None:
    """Return a time that Helm or the API server wrote, in UTC; ``None`` if it is not one."""
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):  # OverflowError: the first or last day of all, in another zone
        return None


def encode(content: Mapping[str, Any]) -> str:
    """Return a release's content as ``data.release`` of its Secret, no larger than Helm would write it."""
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False)
    try:
        data = text.encode()
    except UnicodeEncodeError:  # half a surrogate pair, which JSON can hold and UTF-8 cannot
        data = json.dumps(content, separators=(",", ":")).encode()
    return base64.b64encode(base64.b64encode(gzip.compress(data, mtime=0))).decode("ascii")


def _decode(encoded: str) -> dict[str, Any]:
    packed = base64.b64decode(base64.b64decode(encoded, validate=True), validate=True)
    return _json_object(_gunzip(packed, _LARGEST_CONTENT) if packed[:2] == b"\x1f\x8b" else packed)


def _gunzip(packed: bytes, largest: int) -> bytes:
    stream = zlib.decompressobj(wbits=31)
    unpacked = stream.decompress(packed, largest)
    if stream.unconsumed_tail:
        raise ValueError(f"it is larger than {largest >> 20} MiB")
    if not stream.eof:
        raise ValueError("it is truncated")
    return unpacked


def _json_object(text: bytes) -> dict[str, Any]:
    content = json.loads(text)
    if not isinstance(content, dict):
        raise ValueError("it is not a JSON object")
    return content


def as_mapping(value: Any) -> Mapping[str, Any]:
    """Return a mapping as it is, and an empty one for anything else."""
    return value if isinstance(value, Mapping) else {}


def _texts(value: Any) -> dict[str, str]:
    return {str(key): str(text) for key, text in as_mapping(value).items()}


def _json(text: str) -> Mapping[str, Any]:
    try:
        return as_mapping(json.loads(text))
    except (ValueError, RecursionError):
        return {}


def _time(value: Any) -> str | None:
    text = str(value or "")
    return None if text in ("", _NO_TIME) else text


def pack(content: Mapping[str, Any]) -> bytes:
    """Return content as compact gzipped JSON; the same content gives the same bytes."""
    text = json.dumps(_clean(content), separators=(",", ":"), ensure_ascii=False)
    return gzip.compress(text.encode(), mtime=0)


def unpack(encoded: str) -> dict[str, Any]:
    """Return the content of a packed JSON object in base64.

    Raises:
        ValueError: It is not base64, not a JSON object, truncated or too large.
        zlib.error: It is not gzipped.
        RecursionError: It is nested too deeply.
    """
    return _json_object(_gunzip(base64.b64decode(encoded, validate=True), _LARGEST_PACKED))


def storable(text: str) -> str:
    """Return a text without lone surrogates, which come from bytes that are not UTF-8."""
    return text.encode("utf-8", "replace").decode("utf-8")


def truncate(value: Any, longest: int) -> Any:
    """Return a value with texts of at most ``longest`` characters and lists of at most a sixteenth as many items."""
    if isinstance(value, str):
        return value if len(value) <= longest else value[: longest - 1] + "…"
    if isinstance(value, Mapping):
        return {key: truncate(item, longest) for key, item in value.items()}
    return tuple(truncate(item, longest) for item in value[: longest // 16]) if isinstance(value, list | tuple) else value


def few(names: Iterable[str], most: int) -> str:
    """Return the first names, at most ``most``, and how many more there are."""
    found = list(names)
    return ", ".join(found[:most]) + (f" and {len(found) - most} more" if len(found) > most else "")


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, Mapping):
        return {key: _clean(item) for key, item in value.items()}
    return [_clean(item) for item in value] if isinstance(value, list | tuple) else value
