from __future__ import annotations

from pathlib import Path

import pytest
from support.messages import facts
from support.source_tree import SourceTree, write

from kubernaut.adapters import git as client
from kubernaut.adapters.git import find_work_tree, open_git, run
from kubernaut.errors import DeadlineExceeded, GitFailed
from kubernaut.redact import without_credentials


def test_missing_git_is_not_an_error(tree: SourceTree) -> None:
    assert open_git(tree.app, {**tree.environment, "PATH": "/nowhere"}) is None
    assert open_git(Path("/"), tree.environment) is None


def test_a_folder_that_only_looks_like_a_repository(tmp_path: Path, tree: SourceTree) -> None:
    (tmp_path / "empty" / ".git").mkdir(parents=True)
    assert open_git(tmp_path / "empty", tree.environment) is None


def test_the_work_tree_is_found_from_anywhere_inside(tree: SourceTree) -> None:
    assert find_work_tree(tree.app / "values") == tree.root
    assert find_work_tree(Path("/")) is None
    git = open_git(tree.app / "values", tree.environment)
    assert git is not None
    assert git.root == tree.root
    assert git.head == tree.git("rev-parse", "HEAD").strip()


def test_a_linked_work_tree(tree: SourceTree) -> None:
    tree.git("worktree", "add", "--quiet", str(tree.root.parent / "linked"))
    git = open_git(tree.root.parent / "linked" / "apps", tree.environment)
    assert git is not None
    assert git.root == tree.root.parent / "linked"


def test_names_with_odd_characters(tree: SourceTree) -> None:
    for name in ("a b", "ü", "*", "new\nline", '"quoted"', ":(top)"):
        write(tree.app / name, "x")
    tree.commit()
    git = open_git(tree.app, tree.environment)
    assert git is not None
    assert {path.name for path in git.tracked([tree.app])} >= {"a b", "ü", "*", "new\nline", '"quoted"', ":(top)"}
    write(tree.app / "ü", "changed")
    (tree.app / "*").unlink()
    assert git.modified([tree.app]) == {tree.app / "ü", tree.app / "*"}
    assert git.modified([tree.chart]) == set()
    assert git.modified([tree.root]) == {tree.app / "ü", tree.app / "*"}


def test_a_commit_that_touches_only_elsewhere(tree: SourceTree) -> None:
    git = open_git(tree.app, tree.environment)
    assert git is not None
    assert git.last_commit([tree.root / "nowhere"]).sha == git.head
    assert git.count("v1.0.0", [tree.app]) == 0


@pytest.mark.parametrize(
    ("url", "clean"),
    [
        ("https://ada:canary@git.example.com/shop.git", "https://git.example.com/shop.git"),
        ("https://canary@git.example.com:8443/shop.git?token=canary#canary", "https://git.example.com:8443/shop.git"),
        ("ssh://git@git.example.com/shop.git", "ssh://git.example.com/shop.git"),
        ("git@git.example.com:shop.git", "git@git.example.com:shop.git"),
        ("/srv/git/shop.git", "/srv/git/shop.git"),
    ],
)
def test_a_url_without_credentials(url: str, clean: str) -> None:
    assert without_credentials(url) == clean
    assert "canary" not in clean


def test_the_origin(tree: SourceTree) -> None:
    git = open_git(tree.app, tree.environment)
    assert git is not None
    assert git.origin() is None
    tree.git("remote", "add", "origin", "https://ada:canary@git.example.com/shop.git")
    assert git.origin() == "https://git.example.com/shop.git"


def fake_git(folder: Path, script: str) -> dict[str, str]:
    program = write(folder / "bin" / "git", f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return {"PATH": f"{program.parent}:/usr/bin:/bin"}


def test_a_work_tree_of_another_user(tree: SourceTree, tmp_path: Path) -> None:
    environment = fake_git(tmp_path, 'echo "fatal: detected dubious ownership in repository at x" >&2; exit 128')
    with pytest.raises(GitFailed, match=facts(str(tree.root))) as caught:
        open_git(tree.app, environment)
    assert caught.value.hint.endswith(f"git config --global --add safe.directory {tree.root}")


def test_a_git_that_fails_and_one_that_hangs(tree: SourceTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(GitFailed, match=facts("git log", str(tree.root), "fatal: bad object")):
        run(tree.root, ["log"], fake_git(tmp_path, 'echo "fatal: bad object" >&2; exit 128'))
    with pytest.raises(GitFailed, match=facts("git log", "3")):
        run(tree.root, ["log"], fake_git(tmp_path, "exit 3"))
    monkeypatch.setattr(client, "TIMEOUT", 0.05)
    with pytest.raises(DeadlineExceeded, match=facts("git log", str(tree.root))):
        run(tree.root, ["log"], fake_git(tmp_path, "exec sleep 5"))


def test_variables_of_a_hook_are_not_passed_on(tree: SourceTree, tmp_path: Path) -> None:
    environment = {**fake_git(tmp_path, "env"), "GIT_DIR": "/elsewhere", "GIT_INDEX_FILE": "x", "GIT_CONFIG_COUNT": "0"}
    seen = run(tree.root, ["x"], environment).splitlines()
    assert not any(line.startswith(("GIT_DIR=", "GIT_INDEX_FILE=")) for line in seen)
    assert {"LC_ALL=C", "GIT_OPTIONAL_LOCKS=0", "GIT_TERMINAL_PROMPT=0", "GIT_CONFIG_COUNT=0"} <= set(seen)
