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
from support.examples import examples
from support.source_tree import SourceTree, write

from kubernaut.errors import ChartInvalid, SourceUnreadable
from kubernaut.publish.application import load_application
from kubernaut.publish.source import Entry, context_tar, read_source

TIME = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)


def digest(tree: SourceTree) -> str:
    return read_source(load_application(tree.app)).digest


def test_the_digest_is_the_documented_one(tree: SourceTree) -> None:
    application = load_application(tree.app)
    records = []
    for section, name, path in [
        ("application", "kubernaut.yaml", tree.app / "kubernaut.yaml"),
        ("environment", "production", tree.app / "values" / "production.yaml"),
        *(("chart", str(path.relative_to(tree.chart)), path) for path in tree.chart.rglob("*") if path.is_file()),
        *(("context", str(path.relative_to(tree.app)), path) for path in tree.app.rglob("*") if path.is_file()),
    ]:
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        records.append(f"{section} 644 {content} {len(name)}:{name}\n".encode())
    build = f"build 644 {hashlib.sha256(b'[null, {}]').hexdigest()} 0:\n".encode()
    assert read_source(application).digest == "sha256:" + hashlib.sha256(build + b"".join(sorted(records))).hexdigest()


@pytest.mark.parametrize(
    "change",
    [
        lambda tree: write(tree.app / "index.js", "// other\n"),
        lambda tree: write(tree.app / "new.js", ""),
        lambda tree: (tree.app / "index.js").rename(tree.app / "renamed.js"),
        lambda tree: (tree.app / "index.js").unlink(),
        lambda tree: (tree.app / "index.js").chmod(0o755),
        lambda tree: (tree.app / "link").symlink_to("index.js"),
        lambda tree: write(tree.app / "kubernaut.yaml", (tree.app / "kubernaut.yaml").read_text() + "image: {args: {A: b}}\n"),
        lambda tree: write(tree.app / "kubernaut.yaml", (tree.app / "kubernaut.yaml").read_text() + "# a comment\n"),
        lambda tree: write(tree.app / "values" / "production.yaml", "replicas: 4\n"),
        lambda tree: write(tree.chart / "values.yaml", "{}\n"),
        lambda tree: write(tree.chart / "templates" / "more.yaml", ""),
        lambda tree: write(tree.app / ".dockerignore", "index.js\n"),
    ],
)
def test_every_change_that_counts_changes_the_digest(tree: SourceTree, change: Callable[[SourceTree], object]) -> None:
    before = digest(tree)
    change(tree)
    assert digest(tree) != before


@pytest.mark.parametrize(
    "change",
    [
        lambda tree: os.utime(tree.app / "index.js", (0, 0)),
        lambda tree: (tree.app / "index.js").chmod(0o640),
        lambda tree: (tree.app / "index.js").chmod(0o666),
        lambda tree: (tree.app / "empty").mkdir(),
        lambda tree: write(tree.root / "README.md", "elsewhere\n"),
    ],
)
def test_other_files_do_not_change_the_digest(tree: SourceTree, change: Callable[[SourceTree], object]) -> None:
    before = digest(tree)
    change(tree)
    assert digest(tree) == before


def test_the_git_folder_does_not_count(tree: SourceTree) -> None:
    write(
        tree.app / "kubernaut.yaml",
        "name: shop\nchart: ../../charts/web\nimage: {context: ../..}\n",
    )
    before = digest(tree)
    tree.git("tag", "anything")
    assert digest(tree) == before
    write(tree.root / ".dockerignore", "!.git\n")
    assert any(entry.name == ".git/HEAD" for entry in read_source(load_application(tree.app)).section("context"))


def test_ignored_files_do_not_count(tree: SourceTree) -> None:
    write(tree.app / ".dockerignore", "# comment\nnode_modules\n**/*.log\n*.md\n!README.md\n/tmp/\n")
    before = digest(tree)
    for name in ("node_modules/a/b.js", "deep/er/x.log", "notes.md", "tmp/x"):
        write(tree.app / name, "x")
    assert digest(tree) == before
    write(tree.app / "README.md", "counts again")
    assert digest(tree) != before


def test_a_copy_elsewhere_has_the_same_digest(tree: SourceTree, tmp_path: Path) -> None:
    shutil.copytree(tree.root, tmp_path / "copy", copy_function=shutil.copyfile)
    other = load_application(tmp_path / "copy" / "apps" / "shop")
    assert read_source(other).digest == digest(tree)


names = st.text(alphabet="ab/ :\n1", min_size=1, max_size=6)


@given(st.lists(st.tuples(names, names, st.sampled_from(["644", "755", "link"])), min_size=1, max_size=4, unique=True))
def test_records_cannot_be_taken_for_others(entries: list[tuple[str, str, str]]) -> None:
    """Different files never make the same listing: the length stands before the name, which may hold anything."""

    def listing(items: list[tuple[str, str, str]]) -> bytes:
        return b"".join(Entry(section, name, Path(), kind, "0" * 64).record() for section, name, kind in items)

    known = [("context", name, kind) for name, _, kind in entries]
    other = [("context", name, kind) for _, name, kind in entries]
    assert (listing(known) == listing(other)) == (known == other)


@settings(max_examples=examples(25), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=64), other=st.binary(max_size=64))
def test_the_digest_distinguishes_contents(tree: SourceTree, content: bytes, other: bytes) -> None:
    (tree.app / "data").write_bytes(content)
    first = digest(tree)
    (tree.app / "data").write_bytes(other)
    assert (digest(tree) == first) == (content == other)


def test_the_context_is_the_same_tar_for_the_same_source(tree: SourceTree) -> None:
    write(tree.app / "deep" / "er" / "file", "x")
    (tree.app / "deep" / "run.sh").write_text("#!/bin/sh\n")
    (tree.app / "deep" / "run.sh").chmod(0o700)
    (tree.app / "link").symlink_to("deep/er")
    write(tree.app / ".dockerignore", "values\n")
    source = read_source(load_application(tree.app))
    with context_tar(source, TIME) as file:
        first = file.read()
        file.seek(0)
        with tarfile.open(fileobj=file) as tar:
            members = {member.name: member for member in tar}
    os.utime(tree.app / "index.js", (1, 1))
    with context_tar(read_source(load_application(tree.app)), TIME) as file:
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


def test_without_a_commit_the_files_have_a_fixed_time(tree: SourceTree) -> None:
    with context_tar(read_source(load_application(tree.app))) as file, tarfile.open(fileobj=file) as tar:
        assert {member.mtime for member in tar} == {315619200}


def test_names_with_any_bytes(tree: SourceTree) -> None:
    name = os.fsdecode(b"b\xff\n\xc3\xa9")
    write(tree.app / name, "x")
    source = read_source(load_application(tree.app))
    with context_tar(source) as file, tarfile.open(fileobj=file) as tar:
        assert os.fsencode(name) in {os.fsencode(found) for found in tar.getnames()}


def test_a_file_that_changes_meanwhile_is_found(tree: SourceTree) -> None:
    source = read_source(load_application(tree.app))
    write(tree.app / "index.js", "// changed\n")
    with pytest.raises(SourceUnreadable, match=r"index\.js "), context_tar(source):
        pass
    (tree.app / "index.js").unlink()
    with pytest.raises(SourceUnreadable, match=r"index\.js\b.*No such file"), context_tar(source):
        pass


def test_sockets_and_pipes_are_left_out(tree: SourceTree) -> None:
    before = digest(tree)
    os.mkfifo(tree.app / "pipe")
    assert digest(tree) == before


def test_a_file_that_cannot_be_read(tree: SourceTree, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    application = load_application(tree.app)
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(SourceUnreadable, match=r"kubernaut\.yaml .*Permission denied"):
        read_source(application)


def test_links_in_the_chart(tree: SourceTree, tmp_path: Path) -> None:
    (tree.chart / "inner").symlink_to("values.yaml")
    read_source(load_application(tree.app))
    write(tmp_path / "secret", "x")
    (tree.chart / "outer").symlink_to(tmp_path / "secret")
    with pytest.raises(ChartInvalid, match=r"\bouter\b"):
        read_source(load_application(tree.app))
    (tree.chart / "outer").unlink()
    (tree.chart / "folder").symlink_to("templates")
    with pytest.raises(ChartInvalid, match=r"\bfolder\b"):
        read_source(load_application(tree.app))
