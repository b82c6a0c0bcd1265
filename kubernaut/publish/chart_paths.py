"""What is wrong with the path of a chart, and what to write instead."""

from __future__ import annotations

import io
import re
import shlex
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path, PurePosixPath

from kubernaut.errors import BadInput, ChartInvalid
from kubernaut.publish.chart_reference import parse_chart
from kubernaut.publish.chart_versions import Hints, use_chart

_FORMS = "Use a folder with Chart.yaml, a .tgz file, or oci://HOST/PATH:VERSION."
_SHOWN = 5
_CUTOFF = 0.65
_MOST = 1000
"""The most entries of a folder that are looked at."""
_APPLICATION = re.compile(r"(?P<name>[a-z0-9]+(?:-+[a-z0-9]+)*)(?:[@:](?P<version>[0-9A-Za-z.+-]+))?")
_ALIAS = re.compile(r"(?P<alias>[A-Za-z0-9._-]+)/(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)(?:[@:](?P<version>[0-9A-Za-z.+_-]+))?")
_HOST = re.compile(r"(?:localhost|[a-z0-9-]+(?:\.[a-z0-9-]+)+|[a-z0-9.-]+(?=:))(?::[0-9]+)?")
_VERSION = re.compile(r"[@:](?:v?[0-9][0-9A-Za-z.+_-]*|latest|sha256:[0-9a-f]+)$")


def existing(path: Path) -> Path:
    """Return a path; if it does not exist, with the home folder for ``~``, which no shell replaces in ``--chart=~/x``.

    Raises:
        OSError: The path cannot be examined.
    """
    if path.exists() or not path.parts or not path.parts[0].startswith("~"):
        return path
    with suppress(RuntimeError):  # no such user
        return path.expanduser()
    return path


def missing_chart(text: str, repository_url: Callable[[str], str | None]) -> BadInput:
    """Return the error about a path that does not exist.

    Args:
        text: The path, as it was given.
        repository_url: Returns the URL of a repository of ``helm repo list``.
    """
    path, message = Path(text), f"The chart {text} does not exist{_where(text)}."
    version = _VERSION.search(text)
    without = text[: version.start()] if version else ""
    if without and existing(Path(without)).exists():
        named = "folder has the version of its Chart.yaml" if existing(Path(without)).is_dir() else "package has its own version"
        return BadInput(f"The chart {text} has a version after a path; a {named}.", **use_chart(without))
    if not _exists(Path(path.parts[0])) and (references := [*_with_scheme(text)]):
        first, *more = references
        after = f"For a chart repository, run the same command again with `--chart {shlex.quote(more[0])}`." if more else ""
        return BadInput(f"{message} It begins with a host, and not with oci:// or https://.", **use_chart(first, after=after))
    if near := _near(text):
        return BadInput(message, **use_chart(near))
    return BadInput(message, **_names(text, repository_url))


def _where(text: str) -> str:
    """Return where a path was looked for, if the path does not say so."""
    with suppress(OSError):  # the folder of this process may have been deleted
        expanded = existing(Path(text))
        if text.startswith("~"):
            return f" ({expanded})" if str(expanded) != text else ", and neither does that user"
        return "" if expanded.is_absolute() else f" in {Path.cwd()}"
    return ""


def not_a_chart_folder(folder: Path) -> ChartInvalid:
    """Return the error about a folder without ``Chart.yaml``, with the charts near it."""
    message = f"{folder} has no Chart.yaml, so it is not a chart."
    entries = sorted(entry.name for entry in _entries(folder))
    for other in ("chart.yaml", "Chart.yml", "chart.yml"):
        if other in entries:
            rename = shlex.join(["mv", str(folder / other), str(folder / "Chart.yaml")])
            return ChartInvalid(f"{folder} has {other}, and Helm reads Chart.yaml only.", hint=f"Rename it: `{rename}`.")
    found = [str(one) for one in _charts_below(folder)]
    if found:
        return ChartInvalid(message, **use_chart(found[0], before=f"It contains {', '.join(found[:_SHOWN])}."))
    if (folder.absolute().parent / "Chart.yaml").is_file():
        return ChartInvalid(message, **use_chart(str(folder.parent), before="It is a part of a chart."))
    if "kubernaut.yaml" in entries:
        ship = f"`kubernaut ship {shlex.quote(str(folder))} -n NAMESPACE`"
        return ChartInvalid(message, hint=f"It is an application's folder; {ship} publishes and deploys it.")
    return ChartInvalid(message, hint="Name the folder that contains Chart.yaml.")


def not_a_package(path: Path, data: bytes) -> ChartInvalid | None:
    """Return the error about a file that is evidently not the package of a chart; ``None`` where the reader has to decide."""
    if path.parent.joinpath("Chart.yaml").is_file() and path.suffix in (".yaml", ".yml", ".lock", ".md"):
        return ChartInvalid(f"{path} is a file of a chart; a chart is named by its folder.", **use_chart(str(path.parent)))
    if data.startswith(b"PK\x03\x04"):
        unpack = f"Unpack it, `unzip {shlex.quote(str(path))}`, and name the folder that contains Chart.yaml."
        return ChartInvalid(f"{path} is a zip file; a gzipped tar file is expected.", hint=unpack)
    if data[257:262] == b"ustar":
        packed = f"{path}.gz"
        compress = f"Compress it first, `gzip -k {shlex.quote(str(path))}`."
        return ChartInvalid(
            f"{path} is a tar file without gzip; a gzipped tar file is expected.", **use_chart(packed, before=compress)
        )
    if data.startswith(b"\x1f\x8b") and (folder := _folder_inside(data)):
        unpack = f"Unpack it, `tar -xzf {shlex.quote(str(path))}`."
        return ChartInvalid(
            f"{path} is not the package of a chart: Chart.yaml is deeper in it, in {folder}.", **use_chart(folder, before=unpack)
        )
    return None


def _folder_inside(data: bytes) -> str | None:
    """Return the folder of the first chart in an archive; ``None`` if it is where Helm expects it, or nowhere."""
    found: list[PurePosixPath] = []
    with (
        suppress(tarfile.TarError, EOFError, OSError, ValueError, zlib.error),
        tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as tar,
    ):
        for _, member in zip(range(10 * _MOST), tar, strict=False):
            path = PurePosixPath(member.name)
            if path.name == "Chart.yaml":
                found.append(path.parent)
    if not found or any(len(path.parts) == 1 for path in found):
        return None
    first = min(found, key=lambda path: (len(path.parts), path))
    return None if first.is_absolute() or ".." in first.parts or not first.parts else str(first)


def _with_scheme(text: str) -> Iterator[str]:
    """Yield the references that a path without a scheme may mean, if it begins with a host."""
    host, slash, _ = text.partition("/")
    if not slash or not _HOST.fullmatch(host) or text.endswith((".tgz", ".tar.gz", ".yaml")):
        return
    yield from filter(_is_reference, (f"oci://{text}", f"https://{text}"))


def _near(text: str) -> str | None:
    """Return the path of a chart whose name, or whose folder's name, is nearly that of a path."""
    parent, slash, name = text.rpartition("/")
    folder = existing(Path(parent + slash or "."))
    if folder.is_dir():
        charts = [one.name for one in _entries(folder) if one.suffix == ".tgz" or _exists(one / "Chart.yaml")]
        near = get_close_matches(name, charts, n=1, cutoff=_CUTOFF)
        return f"{parent}{slash}{near[0]}" if near else None
    outer, slash, parent = parent.rpartition("/")
    folders = [one.name for one in _entries(existing(Path(outer + slash or "."))) if _exists(one / name / "Chart.yaml")]
    near = get_close_matches(parent, folders, n=1, cutoff=_CUTOFF)
    return f"{outer}{slash}{near[0]}/{name}" if near else None


def _names(text: str, repository_url: Callable[[str], str | None]) -> Hints:
    """Return the hints for a text that may be a name instead of a path."""
    alias = _ALIAS.fullmatch(text)
    if alias is not None and not _exists(Path(alias["alias"])) and not text.endswith((".tgz", ".tar.gz")):
        version = f"@{alias['version']}" if alias["version"] else ""
        reference = f"{repository_url(alias['alias'])}/{alias['name']}{version}"
        if reference.startswith("http") and _is_reference(reference):
            return use_chart(reference, before=f"{alias['alias']} is a repository of `helm repo list`.")
        form = f"https://HOST/PATH/{alias['name']}{version or '@VERSION'}"
        return _form(f"If {alias['alias']} is a name of `helm repo list`, write that repository's URL: {form}.")
    application = _APPLICATION.fullmatch(text)
    if application is not None:
        named = application["name"] + (f"@{application['version']}" if application["version"] else "")
        return _form(f"A version that kubernaut published is deployed without --chart: `kubernaut deploy {named} -n NAMESPACE`.")
    return _form("")


def _form(more: str) -> Hints:
    return {"hint": f"{_FORMS} {more}".rstrip(), "http_hint": _FORMS}


def _is_reference(text: str) -> bool:
    try:
        return not isinstance(parse_chart(text), Path)
    except BadInput:
        return False


def _charts_below(folder: Path) -> Iterator[Path]:
    """Yield the charts in a folder and in its folders."""
    inner = sorted(entry for entry in _entries(folder) if not entry.name.startswith("."))
    yield from (entry for entry in inner if entry.suffix == ".tgz" or _exists(entry / "Chart.yaml"))
    for entry in inner:
        yield from sorted(one for one in _entries(entry) if _exists(one / "Chart.yaml"))


def _entries(folder: Path) -> list[Path]:
    """Return the first entries of a folder; none if it cannot be read."""
    with suppress(OSError):
        return [entry for _, entry in zip(range(_MOST), folder.iterdir(), strict=False)]
    return []


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False
