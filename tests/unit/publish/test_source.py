from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.workshop import Workshop, write

from kubernaut.errors import ChartInvalid, SourceUnreadable
from kubernaut.publish.application import load_application
from kubernaut.publish.source import Entry, context_tar, read_source

TIME = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)


def digest(shop: Workshop) -> str:
    return read_source(load_application(shop.app)).digest


def test_the_digest_is_what_the_documentation_says(shop: Workshop) -> None:
    application = load_application(shop.app)
    records = []
    for section, name, path in [
        ("application", "kubernaut.yaml", shop.app / "kubernaut.yaml"),
        ("environment", "production", shop.app / "values" / "production.yaml"),
        *(("chart", str(path.relative_to(shop.chart)), path) for path in shop.chart.rglob("*") if path.is_file()),
        *(("context", str(path.relative_to(shop.app)), path) for path in shop.app.rglob("*") if path.is_file()),
    ]:
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        records.append(f"{section} 644 {content} {len(name)}:{name}\n".encode())
    build = f"build 644 {hashlib.sha256(b'[null, {}]').hexdigest()} 0:\n".encode()
    assert read_source(application).digest == "sha256:" + hashlib.sha256(build + b"".join(sorted(records))).hexdigest()


@pytest.mark.parametrize(
    "change",
    [
        lambda shop: write(shop.app / "index.js", "// other\n"),
        lambda shop: write(shop.app / "new.js", ""),
        lambda shop: (shop.app / "index.js").rename(shop.app / "renamed.js"),
        lambda shop: (shop.app / "index.js").unlink(),
        lambda shop: (shop.app / "index.js").chmod(0o755),
        lambda shop: (shop.app / "link").symlink_to("index.js"),
        lambda shop: write(shop.app / "kubernaut.yaml", (shop.app / "kubernaut.yaml").read_text() + "image: {args: {A: b}}\n"),
        lambda shop: write(shop.app / "kubernaut.yaml", (shop.app / "kubernaut.yaml").read_text() + "# a comment\n"),
        lambda shop: write(shop.app / "values" / "production.yaml", "replicas: 4\n"),
        lambda shop: write(shop.chart / "values.yaml", "{}\n"),
        lambda shop: write(shop.chart / "templates" / "more.yaml", ""),
        lambda shop: write(shop.app / ".dockerignore", "index.js\n"),
    ],
)
def test_every_change_that_counts_changes_the_digest(shop: Workshop, change: Callable[[Workshop], object]) -> None:
    before = digest(shop)
    change(shop)
    assert digest(shop) != before


@pytest.mark.parametrize(
    "change",
    [
        lambda shop: os.utime(shop.app / "index.js", (0, 0)),
        lambda shop: (shop.app / "index.js").chmod(0o640),
        lambda shop: (shop.app / "index.js").chmod(0o666),
        lambda shop: (shop.app / "empty").mkdir(),
        lambda shop: write(shop.tree / "README.md", "elsewhere\n"),
    ],
)
def test_what_does_not_count_does_not_change_it(shop: Workshop, change: Callable[[Workshop], object]) -> None:
    before = digest(shop)
    change(shop)
    assert digest(shop) == before


def test_what_git_keeps_does_not_count(shop: Workshop) -> None:
    write(
        shop.app / "kubernaut.yaml",
        "name: shop\nchart: ../../charts/web\nimage: {context: ../..}\n",
    )
    before = digest(shop)
    shop.git("tag", "anything")
    assert digest(shop) == before
    write(shop.tree / ".dockerignore", "!.git\n")
    assert any(entry.name == ".git/HEAD" for entry in read_source(load_application(shop.app)).section("context"))


def test_what_dockerignore_names_does_not_count(shop: Workshop) -> None:
    write(shop.app / ".dockerignore", "# comment\nnode_modules\n**/*.log\n*.md\n!README.md\n/tmp/\n")
    before = digest(shop)
    for name in ("node_modules/a/b.js", "deep/er/x.log", "notes.md", "tmp/x"):
        write(shop.app / name, "x")
    assert digest(shop) == before
    write(shop.app / "README.md", "counts again")
    assert digest(shop) != before


def test_a_copy_elsewhere_has_the_same_digest(shop: Workshop, tmp_path: Path) -> None:
    shutil.copytree(shop.tree, tmp_path / "copy", copy_function=shutil.copyfile)
    other = load_application(tmp_path / "copy" / "apps" / "shop")
    assert read_source(other).digest == digest(shop)


names = st.text(alphabet="ab/ :\n1", min_size=1, max_size=6)


@given(st.lists(st.tuples(names, names, st.sampled_from(["644", "755", "link"])), min_size=1, max_size=4, unique=True))
def test_records_cannot_be_taken_for_others(entries: list[tuple[str, str, str]]) -> None:
    """Different files never make the same listing: the length stands before the name, which may hold anything."""

    def listing(items: list[tuple[str, str, str]]) -> bytes:
        return b"".join(Entry(section, name, Path(), kind, "0" * 64).record() for section, name, kind in items)

    known = [("context", name, kind) for name, _, kind in entries]
    other = [("context", name, kind) for _, name, kind in entries]
    assert (listing(known) == listing(other)) == (known == other)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=64), other=st.binary(max_size=64))
def test_the_digest_tells_contents_apart(shop: Workshop, content: bytes, other: bytes) -> None:
    (shop.app / "data").write_bytes(content)
    first = digest(shop)
    (shop.app / "data").write_bytes(other)
    assert (digest(shop) == first) == (content == other)


def test_the_context_is_the_same_tar_for_the_same_source(shop: Workshop) -> None:
    write(shop.app / "deep" / "er" / "file", "x")
    (shop.app / "deep" / "run.sh").write_text("#!/bin/sh\n")
    (shop.app / "deep" / "run.sh").chmod(0o700)
    (shop.app / "link").symlink_to("deep/er")
    write(shop.app / ".dockerignore", "values\n")
    source = read_source(load_application(shop.app))
    with context_tar(source, TIME) as file:
        first = file.read()
        file.seek(0)
        with tarfile.open(fileobj=file) as tar:
            members = {member.name: member for member in tar}
    os.utime(shop.app / "index.js", (1, 1))
    with context_tar(read_source(load_application(shop.app)), TIME) as file:
        assert file.read() == first
    assert list(members) == [
        ".dockerignore", "Dockerfile", "deep", "deep/er", "deep/er/file", "deep/run.sh", "index.js", "kubernaut.yaml", "link"
    ]  # fmt: skip
    assert {(member.uid, member.gid, member.uname) for member in members.values()} == {(0, 0, "")}
    assert {member.mtime for member in members.values()} == {int(TIME.timestamp())}
    assert members["deep/run.sh"].mode == 0o755
    assert members["index.js"].mode == 0o644
    assert members["deep/er"].isdir()
    assert members["link"].linkname == "deep/er"


def test_without_a_commit_the_files_have_a_fixed_time(shop: Workshop) -> None:
    with context_tar(read_source(load_application(shop.app))) as file, tarfile.open(fileobj=file) as tar:
        assert {member.mtime for member in tar} == {315619200}


def test_names_with_any_bytes(shop: Workshop) -> None:
    name = os.fsdecode(b"b\xff\n\xc3\xa9")
    write(shop.app / name, "x")
    source = read_source(load_application(shop.app))
    with context_tar(source) as file, tarfile.open(fileobj=file) as tar:
        assert os.fsencode(name) in {os.fsencode(found) for found in tar.getnames()}


def test_a_file_that_changes_meanwhile_is_found(shop: Workshop) -> None:
    source = read_source(load_application(shop.app))
    write(shop.app / "index.js", "// changed\n")
    with pytest.raises(SourceUnreadable, match=r"index\.js "), context_tar(source):
        pass
    (shop.app / "index.js").unlink()
    with pytest.raises(SourceUnreadable, match=r"index\.js .*No such file"), context_tar(source):
        pass


def test_sockets_and_pipes_are_left_out(shop: Workshop) -> None:
    before = digest(shop)
    os.mkfifo(shop.app / "pipe")
    assert digest(shop) == before


def test_a_file_that_cannot_be_read(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    application = load_application(shop.app)
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(SourceUnreadable, match=r"kubernaut\.yaml .*Permission denied"):
        read_source(application)


def test_links_in_the_chart(shop: Workshop, tmp_path: Path) -> None:
    (shop.chart / "inner").symlink_to("values.yaml")
    read_source(load_application(shop.app))
    write(tmp_path / "secret", "x")
    (shop.chart / "outer").symlink_to(tmp_path / "secret")
    with pytest.raises(ChartInvalid, match=r"outer .*out of the chart"):
        read_source(load_application(shop.app))
    (shop.chart / "outer").unlink()
    (shop.chart / "folder").symlink_to("templates")
    with pytest.raises(ChartInvalid, match="folder "):
        read_source(load_application(shop.app))
