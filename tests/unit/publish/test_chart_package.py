"""Charts as folders and packages: their digest is that of their content, and what Helm must not read is refused."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.charts import write_chart

from kubernaut.adapters.helm import Helm
from kubernaut.errors import BadInput, ChartInvalid
from kubernaut.publish.chart_package import content_digest, package_folder, packaged_values, read_chart, read_package
from kubernaut.testing.cluster import FakeCluster
from kubernaut.testing.helm import FakeHelm

METADATA = b"apiVersion: v2\nname: web\nversion: 1.2.3\n"


def pack(files: Mapping[str, bytes], *, mtime: int = 0, mode: int = 0o644) -> bytes:
    """Return a package with the files, in their order."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mtime, member.mode = len(data), mtime, mode
            tar.addfile(member, io.BytesIO(data))
    return out.getvalue()


def digest_of(files: Mapping[str, bytes], **how: int) -> str:
    return read_chart(pack({f"web/{path}": data for path, data in files.items()}, **how), "web.tgz").chart.digest


@pytest.fixture
def helm() -> Helm:
    return FakeHelm(FakeCluster())  # type: ignore[return-value]


def test_a_package_is_read(helm: Helm, tmp_path: Path) -> None:
    chart = write_chart(tmp_path, "web", version="0.1.0+build.5", environments__prod_yaml="text: bye\n")
    facts = {"kubernaut/environments": "prod", "org.opencontainers.image.revision": "31fba06"}
    (chart / "Chart.yaml").write_text(f"{(chart / 'Chart.yaml').read_text()}annotations: {facts}\n")
    found = read_chart(package_folder(chart, helm), "web")
    assert (found.name, found.version, found.chart.ref) == ("web", "0.1.0+build.5", "web-0.1.0+build.5.tgz")
    assert (found.source.commit, found.environments, found.repository) == ("31fba06", ("prod",), "")
    assert packaged_values(found, "prod") == {"text": "bye"}


def test_times_modes_and_order_do_not_count() -> None:
    files = {"Chart.yaml": METADATA, "values.yaml": b"a: 1\n", "templates/x.yaml": b"x"}
    first = digest_of(files)
    assert digest_of(files, mtime=1_700_000_000, mode=0o755) == first
    assert digest_of(dict(reversed(files.items()))) == first


def test_the_form_of_chart_yaml_does_not_count() -> None:
    assert digest_of({"Chart.yaml": METADATA}) == digest_of(
        {"Chart.yaml": b"version: '1.2.3'\nname: web\napiVersion: v2\ndeprecated: false\n"}
    )


@pytest.mark.parametrize(
    "files",
    [
        {"Chart.yaml": METADATA, "values.yaml": b"a: 2\n"},
        {"Chart.yaml": METADATA, "values.yml": b"a: 1\n"},
        {"Chart.yaml": METADATA + b"description: other\n", "values.yaml": b"a: 1\n"},
        {"Chart.yaml": METADATA, "values.yaml": b"a: 1\n", "README.md": b""},
        {"Chart.yaml": METADATA},
    ],
)
def test_any_other_change_counts(files: dict[str, bytes]) -> None:
    assert digest_of(files) != digest_of({"Chart.yaml": METADATA, "values.yaml": b"a: 1\n"})


PATHS = st.text("ab/.:\n0 ", min_size=1, max_size=6)


@given(st.dictionaries(PATHS, st.binary(max_size=4), max_size=4), st.dictionaries(PATHS, st.binary(max_size=4), max_size=4))
def test_only_equal_files_have_equal_digests(one: dict[str, bytes], other: dict[str, bytes]) -> None:
    assert (content_digest(one) == content_digest(other)) == (one == other)


@pytest.mark.parametrize(
    "files",
    [
        {"web/../../etc/passwd": b"x"},
        {"/etc/passwd": b"x"},
        {"web/./x": b"x"},
        {"web//x": b"x"},
        {"web\\x": b"x"},
        {"Chart.yaml": METADATA},
    ],
)
def test_paths_outside_the_chart_are_refused(files: dict[str, bytes]) -> None:
    with pytest.raises(ChartInvalid, match=r"web\.tgz"):
        read_chart(pack({"web/Chart.yaml": METADATA, **files}), "web.tgz")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_package_are_refused(kind: bytes) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        member = tarfile.TarInfo("web/values.yaml")
        member.type, member.linkname = kind, "/etc/passwd"
        tar.addfile(member)
    with pytest.raises(ChartInvalid, match=r"values\.yaml"):
        read_chart(out.getvalue(), "web.tgz")


@pytest.mark.parametrize(
    "package",
    [
        b"",
        b"not an archive",
        gzip.compress(b"x" * 2000),
        pack({"web/Chart.yaml": METADATA})[:-20],
        pack({"web/values.yaml": b"a: 1\n"}),
        pack({"web/Chart.yaml": b"name: web\n"}),
        pack({"web/Chart.yaml": b"version: 1.0.0\n"}),
        pack({"web/Chart.yaml": b"a: [\n"}),
        pack({"web/Chart.yaml": b"- a\n"}),
    ],
    ids=["empty", "text", "gzip", "cut", "no Chart.yaml", "no version", "no name", "not YAML", "list"],
)
def test_a_file_that_is_not_a_chart_is_refused(package: bytes) -> None:
    with pytest.raises(ChartInvalid, match=r"web\.tgz"):
        read_chart(package, "web.tgz")


def test_a_package_that_unpacks_to_too_much_is_refused() -> None:
    with pytest.raises(ChartInvalid, match="128 MiB"):
        read_chart(pack({"web/Chart.yaml": METADATA, "web/zeros": bytes(130 << 20)}), "web.tgz")


@given(st.binary(max_size=200))
def test_any_bytes_are_a_chart_or_refused(data: bytes) -> None:
    for package in (data, gzip.compress(data), pack({"web/Chart.yaml": data})):
        with suppress(ChartInvalid):
            read_chart(package, "web.tgz")


def test_a_missing_environment_file_is_named() -> None:
    text = METADATA + b"annotations: {kubernaut/environments: prod}\n"
    with pytest.raises(ChartInvalid, match=r"environments/prod\.yaml"):
        packaged_values(read_chart(pack({"web/Chart.yaml": text}), "web.tgz"), "prod")


# folders


def test_a_link_that_leads_out_of_the_folder_is_refused(helm: Helm, tmp_path: Path) -> None:
    chart = write_chart(tmp_path, "web")
    (tmp_path / "secret").write_text("hunter2")
    (chart / "templates" / "inside.yaml").symlink_to(chart / "values.yaml")
    assert package_folder(chart, helm)
    (chart / "templates" / "outside.yaml").symlink_to("../../secret")
    with pytest.raises(ChartInvalid, match=r"templates/outside\.yaml"):
        package_folder(chart, helm)


def test_a_linked_folder_that_leads_out_is_refused(helm: Helm, tmp_path: Path) -> None:
    chart = write_chart(tmp_path, "web")
    (chart / "charts").symlink_to("/etc")
    with pytest.raises(ChartInvalid, match="charts"):
        package_folder(chart, helm)


def test_a_socket_or_pipe_in_the_folder_is_refused(helm: Helm, tmp_path: Path) -> None:
    chart = write_chart(tmp_path, "web")
    os.mkfifo(chart / "templates" / "pipe")
    with pytest.raises(ChartInvalid, match="templates/pipe"):
        package_folder(chart, helm)


def test_a_folder_without_chart_yaml_is_refused(helm: Helm, tmp_path: Path) -> None:
    with pytest.raises(ChartInvalid, match=r"Chart\.yaml"):
        package_folder(tmp_path, helm)


def test_the_folder_is_only_read(helm: Helm, tmp_path: Path) -> None:
    chart = write_chart(tmp_path, "web")
    before = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*"))
    package_folder(chart, helm)
    assert sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*")) == before


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_only_regular_files_are_packages(tmp_path: Path, make: object) -> None:
    path = tmp_path / "web.tgz"
    make(path)  # type: ignore[operator]
    with pytest.raises(BadInput, match=r"web\.tgz"):
        read_package(path)


def test_a_large_package_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "web.tgz"
    with path.open("wb") as file:
        file.truncate((32 << 20) + 1)
    with pytest.raises(ChartInvalid, match="32 MiB"):
        read_package(path)
