"""A chart that comes as a package (``.tgz``) or as a folder, and not from a registry of kubernaut or of Helm.

Such a chart is identified by its content. The digest is the SHA-256 of a listing with one record per file, sorted by path::

    CONTENT SP LENGTH ":" PATH LF

``CONTENT`` is the SHA-256 in hex of the file's bytes, ``PATH`` is relative to the chart, with its ``LENGTH`` in bytes before it.
Times and modes do not count. Helm writes ``Chart.yaml`` and ``Chart.lock`` anew when it packages a folder, so of those the content
counts, as JSON with sorted keys: the same chart as a folder, packaged by any Helm, and downloaded has one digest.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shlex
import tarfile
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kubernaut.errors import BadInput, ChartInvalid, ValuesInvalid
from kubernaut.publish.chart_paths import not_a_chart_folder
from kubernaut.publish.registry import ENVIRONMENTS, REVISION, SOURCE
from kubernaut.publish.version import Artefact, ChartVersion, SourceOfVersion
from kubernaut.yaml_reader import parse_yaml

if TYPE_CHECKING:
    from kubernaut.adapters.helm import Helm

MAX_PACKAGE = 32 << 20
"""The largest package, in bytes."""
_MAX_CONTENT = 128 << 20
_HELMIGNORE = "List the files that the chart does not need in .helmignore."
_PACKAGE = "Use a file that `helm package` wrote."
_REWRITTEN = ("Chart.yaml", "Chart.lock", "requirements.lock")


def package_folder(folder: Path, helm: Helm) -> bytes:
    """Return the package that Helm makes of a chart's folder; the folder is only read.

    Raises:
        ChartInvalid: It is not a chart, lacks dependencies, or holds a link that leads out of it.
        BadInput: A file cannot be read.
    """
    if not (folder / "Chart.yaml").is_file():
        raise not_a_chart_folder(folder)
    _check_folder(folder)
    with tempfile.TemporaryDirectory(prefix="kubernaut-chart-") as temporary:
        try:
            return read_package(helm.package(folder.absolute(), Path(temporary)))
        except ChartInvalid as error:
            if "missing in charts" not in error.message:
                raise
            build = f"`helm dependency build {shlex.quote(str(folder))}` downloads them into charts/."
            raise ChartInvalid(error.message, hint=build, details=error.details) from error


def read_package(path: Path) -> bytes:
    """Return the bytes of a package. Raises: BadInput."""
    try:
        if not path.is_file():  # reading a pipe may block, a device may be endless
            raise BadInput(f"{path} is not a regular file.", hint="Name a folder with Chart.yaml, or a .tgz file.")
        with path.open("rb") as file:
            data = file.read(MAX_PACKAGE + 1)
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}.", hint="Make it readable for this user.") from error
    if len(data) > MAX_PACKAGE:
        raise ChartInvalid(f"{path} is larger than {MAX_PACKAGE >> 20} MiB.", hint=_HELMIGNORE)
    return data


def read_chart(package: bytes, shown: str, ref: str | None = None) -> ChartVersion:
    """Return the chart in a package.

    Args:
        package: The bytes of the ``.tgz``.
        shown: What messages call the package.
        ref: Where the chart comes from; the package's usual name by default.

    Raises:
        ChartInvalid: It is not the package of a chart.
    """
    files = _files(package, shown)
    metadata = _metadata(files, shown)
    name, version = (str(metadata.get(key) or "") for key in ("name", "version"))
    if not name or not version:
        raise ChartInvalid(f"The Chart.yaml of {shown} has no {'version' if name else 'name'}.")
    found = metadata.get("annotations")
    annotations = {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}
    return ChartVersion(
        repository="",
        name=name,
        version=version,
        chart=Artefact(ref=ref or f"{name}-{version}.tgz", digest=content_digest(files)),
        source=SourceOfVersion(commit=annotations.get(REVISION), repository=annotations.get(SOURCE)),
        environments=tuple(filter(None, annotations.get(ENVIRONMENTS, "").split(","))),
        package=package,
    )


def packaged_values(chart: ChartVersion, environment: str) -> dict[str, Any]:
    """Return the values that a chart was packaged with for an environment. Raises: ValuesInvalid, ChartInvalid."""
    shown = chart.chart.ref
    path = f"environments/{environment}.yaml"
    text = _files(chart.package or b"", shown).get(path)
    if text is None:
        raise ChartInvalid(f"{shown} names the environment {environment}, but has no {path}.")
    return parse_yaml(text, f"{shown}: {path}")


def content_digest(files: Mapping[str, bytes]) -> str:
    """Return the digest of a chart's files, by path."""
    listing = hashlib.sha256()
    for path, data in sorted((os.fsencode(path), data) for path, data in files.items()):
        if path.rpartition(b"/")[2].decode("utf-8", "replace") in _REWRITTEN:
            data = _canonical(data)
        listing.update(b"%s %d:%s\n" % (hashlib.sha256(data).hexdigest().encode(), len(path), path))
    return f"sha256:{listing.hexdigest()}"


def _canonical(text: bytes) -> bytes:
    """Return a YAML file as JSON with sorted keys and without empty values, which Helm leaves out; the text if it is not YAML."""
    try:
        return json.dumps(_without_empty(parse_yaml(text, "")), sort_keys=True, default=str).encode()
    except (ValuesInvalid, RecursionError):
        return text


def _without_empty(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_empty(item) for key, item in value.items() if item not in (None, "", False, [], {})}
    return [_without_empty(item) for item in value] if isinstance(value, list) else value


def _metadata(files: Mapping[str, bytes], shown: str) -> dict[str, Any]:
    if "Chart.yaml" not in files:
        raise ChartInvalid(f"{shown} has no Chart.yaml, so it is not the package of a chart.", hint=_PACKAGE)
    try:
        return parse_yaml(files["Chart.yaml"], f"{shown}: Chart.yaml")
    except ValuesInvalid as error:
        raise ChartInvalid(error.message) from error


def _files(package: bytes, shown: str) -> dict[str, bytes]:
    """Return the files of a package by their paths in the chart. Raises: ChartInvalid."""
    files: dict[str, bytes] = {}
    try:
        with gzip.open(io.BytesIO(package)) as unpacked:
            content = unpacked.read(_MAX_CONTENT + 1)
        if len(content) > _MAX_CONTENT:
            raise ChartInvalid(f"{shown} unpacks to more than {_MAX_CONTENT >> 20} MiB.", hint=_HELMIGNORE)
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as tar:
            for member in _members(tar, shown):
                file = tar.extractfile(member)
                files[member.name.partition("/")[2]] = b"" if file is None else file.read()
    except (tarfile.TarError, EOFError, OSError, ValueError, zlib.error, RecursionError) as error:
        raise ChartInvalid(f"{shown} is not a gzipped tar file.", hint=_PACKAGE) from error
    return files


def _members(tar: tarfile.TarFile, shown: str) -> Iterator[tarfile.TarInfo]:
    """Yield the files of a package. Raises: ChartInvalid: It holds links, or paths outside the chart."""
    for member in tar:
        parts = member.name.split("/")
        if member.isdir():
            continue
        if not member.isfile():
            raise ChartInvalid(f"{shown} holds {member.name!r}, which is not a regular file.", hint=_PACKAGE)
        if len(parts) < 2 or any(part in ("", ".", "..") for part in parts) or "\\" in member.name:
            raise ChartInvalid(f"{shown} holds {member.name!r}, outside the chart's folder.", hint=_PACKAGE)
        yield member


def _check_folder(chart: Path) -> None:
    """Check that a chart's folder holds files only, and no link that leads out of it. Raises: ChartInvalid."""
    real = chart.resolve()
    for folder, folders, files in os.walk(chart):
        for name in (*files, *(name for name in folders if (Path(folder) / name).is_symlink())):
            path = Path(folder) / name
            if path.is_symlink() and not path.resolve().is_relative_to(real):
                raise ChartInvalid(f"{path} is a link that leads out of the chart.", hint="Put a copy of the file into the chart.")
            if not path.is_symlink() and not path.is_file():
                raise ChartInvalid(f"{path} is not a regular file or a folder.", hint="Replace it with a regular file.")
