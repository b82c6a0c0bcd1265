"""Find the chart that a reference names, wherever it is; see :mod:`kubernaut.publish.chart_reference`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from kubernaut.adapters.helm_repositories import repository_url
from kubernaut.errors import BadInput, ChartInvalid, RegistryUnreachable, VersionNotFound
from kubernaut.publish.chart_index import find_entry, not_a_repository
from kubernaut.publish.chart_package import MAX_PACKAGE, package_folder, read_chart, read_package
from kubernaut.publish.chart_paths import existing, missing_chart, not_a_package
from kubernaut.publish.chart_reference import ChartReference, RepositoryChart, parse_chart
from kubernaut.publish.version import ChartVersion

if TYPE_CHECKING:
    from kubernaut.adapters.chart_repository import ChartRepositoryClient
    from kubernaut.adapters.helm import Helm
    from kubernaut.publish.registry import Registry

_WHERE = "Use a folder with Chart.yaml, a .tgz file, or oci://HOST/PATH:VERSION."


def find_chart(
    chart: str | Path, *, registry: Registry, repositories: ChartRepositoryClient, helm: Callable[[], Helm]
) -> ChartVersion:
    """Return a chart by reference, pinned by its digest.

    Args:
        chart: The reference.
        registry: Reads charts of OCI registries.
        repositories: Reads chart repositories.
        helm: Opens Helm, which packages a folder.

    Raises:
        BadInput: The reference is invalid, or a file cannot be read.
        ChartInvalid: It does not name a chart.
        VersionNotFound: The chart, or its version, does not exist.
        VersionConflict: The chart does not have the digest in the reference.
    """
    found = parse_chart(chart)
    if isinstance(found, ChartReference):
        return registry.chart(f"oci://{found}")
    if isinstance(found, RepositoryChart):
        return _from_repository(found, repositories)
    return _from_path(found, str(chart), helm)


def _from_path(path: Path, text: str, helm: Callable[[], Helm]) -> ChartVersion:
    try:
        found = existing(path)
        is_folder, exists = found.is_dir(), found.exists()
    except OSError as error:
        raise BadInput(f"The chart {str(path)[:200]} cannot be read: {error.strerror}.", hint=_WHERE) from error
    if not exists:
        raise missing_chart(text, repository_url)
    return read_chart(package_folder(found, helm()) if is_folder else _package(found), str(path))


def _package(path: Path) -> bytes:
    data = read_package(path)
    if (refusal := not_a_package(path, data)) is not None:
        raise refusal
    return data


def _from_repository(chart: RepositoryChart, repositories: ChartRepositoryClient) -> ChartVersion:
    try:
        index = repositories.index(chart.repository)
    except VersionNotFound as error:
        raise not_a_repository(chart, error.message) from error
    entry = find_entry(index, chart)
    pinned = RepositoryChart(chart.repository, chart.name, entry.version)
    try:
        package = repositories.package(entry.url, MAX_PACKAGE)
    except VersionNotFound as error:
        raise VersionNotFound(
            f"{chart.repository} lists {chart.name} {entry.version}, but {error.message}",
            hint="The repository is damaged: report it to its owner, or name another version.",
        ) from error
    digest = hashlib.sha256(package).hexdigest()
    if entry.sha256 is not None and digest != entry.sha256:
        raise RegistryUnreachable(
            f"The package of {pinned} has the SHA-256 {digest}, but the repository's index names {entry.sha256}.",
            hint="The package or the index was changed: ask the repository's owner, and try again.",
        )
    found = read_chart(package, str(pinned), ref=str(pinned))
    if (found.name, found.version) != (chart.name, entry.version):
        raise ChartInvalid(
            f"The package of {pinned} holds {found.name} {found.version}.",
            hint="The repository is damaged: report it to its owner.",
        )
    return found
