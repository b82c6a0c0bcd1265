"""Helm's record of a release, decoded. Pure: from a Secret's dictionary, as the Kubernetes API has it, to a :class:`Record`.

Helm keeps one Secret a revision, ``sh.helm.release.v1.NAME.vN``: its labels say name, revision and status, and its data are the
release as JSON, gzipped, in base64 twice. The content is decoded when first asked for; a record that cannot be decoded says so
in ``damaged`` and is never an exception, since one broken record must not hide the others.

A copy that was set aside while its record is recreated (``mending``) is read as that record.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import json
import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any

SECRET_TYPE = "helm.sh/release.v1"  # noqa: S105 - a type's name
HELM_OWNER = "helm"
OPERATION_LABEL = "kubernaut/operation"
REVISION_LABEL = "kubernaut/revision"
KUBERNAUT_OWNER = "kubernaut"
"""The label ``owner`` of what kubernaut keeps beside Helm's records; Helm does not list it."""
ASIDE_TYPE = "kubernaut/record.v1"
ASIDE_LABEL = "kubernaut/set-aside"
"""On a copy that was set aside; the annotation of the same name holds what the record's Secret has in its metadata."""

_SECRET_NAME = re.compile(r"sh\.helm\.release\.v1\.(?P<name>.+)\.v(?P<revision>[0-9]+)")
_ASIDE_NAME = re.compile(r"kubernaut\.aside\.(?P<name>.+)\.v(?P<revision>[0-9]+)")
_LARGEST_CONTENT = 64 << 20
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
        secret: The Secret's name.
        labelled_status: The status that the label says, by which Helm searches; :attr:`status` is the one that it believes.
        payload: The encoded content; empty when only the metadata was read.
        modified: When the Secret was last written, as the API server knows; Helm's own label is copied from revision to revision.
        immutable: Whether the API server refuses to change its content.
        aside: Whether it was read from a copy that was set aside. All but ``resource_version`` is the record's own then.
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
        """The name of the Secret that a copy of it has, when one is set aside."""
        return f"kubernaut.aside.{self.name}.v{self.revision}"

    @property
    def id(self) -> str:
        """The release's id."""
        return f"{self.namespace}.{self.name}.v{self.revision}"

    @property
    def etag(self) -> str:
        """What names this state of the record: its uid and its resource version."""
        return f"{self.uid}-{self.resource_version}"

    @property
    def operation_id(self) -> str | None:
        """The id of the operation that made it, if its labels are its own: plain Helm, and a rollback, copy them onward."""
        return self.labels.get(OPERATION_LABEL) if self.labels.get(REVISION_LABEL) == str(self.revision) else None

    @cached_property
    def _decoded(self) -> tuple[dict[str, Any], str | None]:
        if not self.payload:
            return {}, "its Secret holds no release"
        try:
            return _decode(self.payload), None
        except (binascii.Error, ValueError, OSError, EOFError, zlib.error, RecursionError) as error:
            return {}, f"its content cannot be decoded: {error}"

    @property
    def content(self) -> Mapping[str, Any]:
        """The release as Helm keeps it; empty when the record is damaged."""
        return self._decoded[0]

    @property
    def damaged(self) -> str | None:
        """Why the record cannot be read, if it cannot."""
        return self._decoded[1]

    @property
    def status(self) -> str:
        """The status that Helm believes: the content's; the label's when the content is not there."""
        return str(self.info.get("status") or self.labelled_status or Status.UNKNOWN)

    @property
    def info(self) -> Mapping[str, Any]:
        """Helm's ``info``: first_deployed, last_deployed, deleted, description, status, notes."""
        return _mapping(self.content.get("info"))

    @property
    def description(self) -> str:
        """The line that ``helm history`` shows."""
        return str(self.info.get("description") or "")

    @property
    def deployed_at(self) -> str | None:
        """When this revision was made, as Helm tells; RFC 3339."""
        return _time(self.info.get("last_deployed"))

    @property
    def deleted_at(self) -> str | None:
        """When it was deleted; stays when the release is deployed again later."""
        return _time(self.info.get("deleted"))

    @property
    def chart(self) -> Mapping[str, Any]:
        """The chart's ``Chart.yaml``, its annotations included."""
        return _mapping(_mapping(self.content.get("chart")).get("metadata"))

    @property
    def annotations(self) -> Mapping[str, str]:
        """The chart's annotations."""
        return _texts(self.chart.get("annotations"))

    @property
    def defaults(self) -> Mapping[str, Any]:
        """The chart's own values."""
        return _mapping(_mapping(self.content.get("chart")).get("values"))

    @property
    def config(self) -> Mapping[str, Any]:
        """The values that the release was deployed with, over the chart's own."""
        return _mapping(self.content.get("config"))

    @property
    def manifest(self) -> str:
        """What was applied, as YAML documents."""
        return str(self.content.get("manifest") or "")


def decode(secret: Mapping[str, Any]) -> Record | None:
    """Return the record that a Secret holds, whole or metadata only; ``None`` for a Secret that is no record of Helm's.

    A copy that was set aside is the record that it was made of, with ``aside``.
    """
    metadata = _mapping(secret.get("metadata"))
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
        payload=str(_mapping(secret.get("data")).get("release") or ""),
        modified=modification_time(own),
        immutable=secret.get("immutable") is True,
        aside=aside,
    )


def original_metadata(copy: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the metadata of the record's Secret that a copy was made of; without the note of it, what the copy's name tells."""
    metadata = _mapping(copy.get("metadata"))
    noted = _json(_texts(metadata.get("annotations")).get(ASIDE_LABEL, ""))
    match = _ASIDE_NAME.fullmatch(str(metadata.get("name", "")))
    if noted or match is None:
        return noted
    labels = {"name": match["name"], "owner": HELM_OWNER, "version": match["revision"]}
    return {"name": secret_name(match["name"], match["revision"]), "labels": labels}


def secret_name(name: str, revision: int | str) -> str:
    """Return the name of the Secret in which Helm keeps a revision."""
    return f"sh.helm.release.v1.{name}.v{revision}"


def modification_time(metadata: Mapping[str, Any]) -> str:
    """Return when an object was last written, as the API server knows; empty when it does not say."""
    writers = metadata.get("managedFields") or ()
    return max((str(writer.get("time") or "") for writer in writers), default="")


def encode(content: Mapping[str, Any]) -> str:
    """Return a release's content as a Secret's ``data.release`` holds it; no larger than Helm would write it."""
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False)
    try:
        data = text.encode()
    except UnicodeEncodeError:  # half a surrogate pair, which JSON can hold and UTF-8 cannot
        data = json.dumps(content, separators=(",", ":")).encode()
    return base64.b64encode(base64.b64encode(gzip.compress(data, mtime=0))).decode("ascii")


def _decode(encoded: str) -> dict[str, Any]:
    packed = base64.b64decode(base64.b64decode(encoded, validate=True), validate=True)
    if packed[:2] == b"\x1f\x8b":
        stream = zlib.decompressobj(wbits=31)
        packed = stream.decompress(packed, _LARGEST_CONTENT)
        if stream.unconsumed_tail:
            raise ValueError(f"it holds more than {_LARGEST_CONTENT >> 20} MiB")
        if not stream.eof:
            raise ValueError("it is cut off")
    content = json.loads(packed)
    if not isinstance(content, dict):
        raise ValueError("it is no release")
    return content


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _texts(value: Any) -> dict[str, str]:
    return {str(key): str(text) for key, text in _mapping(value).items()}


def _json(text: str) -> Mapping[str, Any]:
    try:
        return _mapping(json.loads(text))
    except (ValueError, RecursionError):
        return {}


def _time(value: Any) -> str | None:
    text = str(value or "")
    return None if text in ("", _NO_TIME) else text


_LARGEST_PACKED = 16 << 20


def pack(content: Mapping[str, Any]) -> bytes:
    """Return a content as compact JSON, gzipped; the same content is always the same bytes."""
    text = json.dumps(_clean(content), separators=(",", ":"), ensure_ascii=False)
    return gzip.compress(text.encode(), mtime=0)


def unpack(encoded: str) -> dict[str, Any]:
    """Return the content of what was packed and encoded as base64.

    Raises:
        ValueError: It is no such thing, or endless.
        zlib.error: It is not gzipped.
        RecursionError: It is nested too deeply.
    """
    stream = zlib.decompressobj(wbits=31)
    packed = stream.decompress(base64.b64decode(encoded, validate=True), _LARGEST_PACKED)
    if not stream.eof:
        raise ValueError("it is cut off" if not stream.unconsumed_tail else f"it holds more than {_LARGEST_PACKED >> 20} MiB")
    content = json.loads(packed)
    if not isinstance(content, dict):
        raise ValueError("it is no operation")
    return content


def storable(text: str) -> str:
    """Return the text without halves of surrogate pairs, which come from bytes that are no UTF-8."""
    return text.encode("utf-8", "replace").decode("utf-8")


def truncate(value: Any, longest: int) -> Any:
    """Return a value whose texts are no longer than so many characters, and whose lists than a sixteenth of that."""
    if isinstance(value, str):
        return value if len(value) <= longest else value[: longest - 1] + "…"
    if isinstance(value, Mapping):
        return {key: truncate(item, longest) for key, item in value.items()}
    return tuple(truncate(item, longest) for item in value[: longest // 16]) if isinstance(value, list | tuple) else value


def smallest(enough: Callable[[int], bool], most: int) -> int:
    """Return about the least number up to ``most`` that is enough; ``most`` when none is."""
    low, high = 0, most
    while low < high:
        middle = (low + high) // 2
        if enough(middle):
            high = middle
        else:
            low = middle + 1
    return high


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, Mapping):
        return {key: _clean(item) for key, item in value.items()}
    return [_clean(item) for item in value] if isinstance(value, list | tuple) else value
