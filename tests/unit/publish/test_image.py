"""The build context: the user's files, and the labels in a Dockerfile that stays out of the image."""

from __future__ import annotations

import tarfile
from typing import IO, Any

import pytest
from support.source_tree import DOCKERFILE, SourceTree, write

from kubernaut.publish.application import load_application
from kubernaut.publish.image import make_image
from kubernaut.publish.source import read_source


@pytest.mark.parametrize(
    ("ignore", "read", "sent"),
    [
        ("", ".kubernaut.Dockerfile", {"Dockerfile", ".kubernaut.Dockerfile"}),
        ("*.md\n", ".kubernaut.Dockerfile", {"Dockerfile", ".kubernaut.Dockerfile"}),
        ("Dockerfile\n", "Dockerfile", {"Dockerfile"}),
        ("Docker*\n.dockerignore\n", "Dockerfile", {"Dockerfile"}),
        ("Docker*\n!Dockerfile\n", ".kubernaut.Dockerfile", {"Dockerfile", ".kubernaut.Dockerfile"}),
    ],
)
def test_the_engine_omits_ignored_files_from_the_image(tree: SourceTree, ignore: str, read: str, sent: set[str]) -> None:
    write(tree.app / ".dockerignore", ignore)
    seen: dict[str, Any] = {}

    def build(context: IO[bytes], **named: Any) -> str:
        with tarfile.open(fileobj=context) as tar:
            files = {name: file.read().decode() for name in tar.getnames() if (file := tar.extractfile(name)) is not None}
        seen.update(named, files=files)
        return "sha256:0"

    tree.engine.build = build  # type: ignore[assignment]
    source = read_source(load_application(tree.app))
    make_image(tree.engine, source, tag="shop:1", labels={"a": "b"}, time=None, log=lambda _: None)  # type: ignore[arg-type]
    assert (seen["dockerfile"], seen["labels"]) == (read, {})
    assert {name for name in seen["files"] if "Dockerfile" in name} == sent
    assert seen["files"][read] == DOCKERFILE.rstrip() + '\nLABEL "a"="b"\n'
    assert read in seen["files"][".dockerignore"].splitlines()  # the engine drops the one that it reads
