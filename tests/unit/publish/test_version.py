from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from semver import Version as SemVer
from support.source_tree import SourceTree, write

from kubernaut.adapters.git import open_git
from kubernaut.errors import ShallowClone, VersionInvalid
from kubernaut.publish.application import load_application
from kubernaut.publish.source import read_source
from kubernaut.publish.version import GitState, check_version, decide_version, highest_tag, parse, read_git

DIGEST = "sha256:1a2b3c4d" + "0" * 56
SHA = "abc1234" + "0" * 33


def state(tag: str | None, commits: int | None, *, dirty: bool = False) -> GitState:
    return GitState(SHA, datetime(2026, 1, 1, tzinfo=UTC), tag, commits, (Path("x"),) if dirty else ())


@pytest.mark.parametrize(
    ("tag", "commits", "dirty", "version"),
    [
        ("v1.4.2", 0, False, "1.4.2"),
        ("v1.4.2", 5, False, "1.4.3-dev.5.gabc1234"),
        ("v1.4.2", 5, True, "1.4.3-dev.5.gabc1234.dirty.1a2b3c4d"),
        ("v1.4.2", 0, True, "1.4.3-dev.0.gabc1234.dirty.1a2b3c4d"),
        ("v1.5.0-rc.1", 0, False, "1.5.0-rc.1"),
        ("v1.5.0-rc.1", 2, False, "1.5.0-rc.1.dev.2.gabc1234"),
        (None, 7, False, "0.0.1-dev.7.gabc1234"),
        (None, 0, True, "0.0.1-dev.0.gabc1234.dirty.1a2b3c4d"),
    ],
)
def test_versions_from_git(tag: str | None, commits: int, dirty: bool, version: str) -> None:
    assert decide_version(state(tag, commits, dirty=dirty), "v", DIGEST) == version


def test_without_git_the_source_names_it() -> None:
    assert decide_version(None, "v", DIGEST) == "0.0.0-dev.src.1a2b3c4d"


def test_a_cut_off_history_has_no_count() -> None:
    with pytest.raises(ShallowClone) as caught:
        decide_version(state(None, None), "v", DIGEST)
    assert "git fetch --unshallow --tags" in caught.value.hint
    assert decide_version(state(None, None), "v", DIGEST, "2.0.0") == "2.0.0"


@pytest.mark.parametrize("good", ["1.4.2", "1.5.0-rc.1", "0.0.0", "1.0.0-0a.b-c"])
def test_versions_that_can_be_published(good: str) -> None:
    assert decide_version(None, "v", DIGEST, good) == good


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "1",
        "1.2",
        "v1.2.3",
        "1.2.3+build",
        "01.2.3",
        "1.2.3-01",
        "1.2.3-",
        "1.2.3\n",
        " 1.2.3",
        "--x",
        "../x",
        "1.2.3-ä",
        "1.2.3-a-",
        "1.0.0-" + "a" * 60,
        "latest",
    ],
)
def test_versions_that_cannot(bad: str) -> None:
    with pytest.raises(VersionInvalid):
        check_version(bad)


digests = st.text(alphabet="0123456789abcdef", min_size=64, max_size=64).map(lambda text: f"sha256:{text}")
shas = st.text(alphabet="0123456789abcdef", min_size=40, max_size=40)
numbers = st.integers(0, 99)
tags = st.builds("v{}.{}.{}{}".format, numbers, numbers, numbers, st.sampled_from(["", "-rc.1", "-a"]))


@given(st.none() | tags, st.integers(0, 99_999), st.booleans(), digests, shas)
def test_every_version_is_semver_after_its_tag_and_before_the_next(
    tag: str | None, commits: int, dirty: bool, source: str, sha: str
) -> None:
    changed = (Path("x"),) if dirty else ()
    version = decide_version(GitState(sha, datetime.now(UTC), tag, commits, changed), "v", source)
    parsed = SemVer.parse(version)
    assert "+" not in version
    base = SemVer.parse("0.0.0" if tag is None else tag[1:])
    if tag is not None and commits == 0 and not dirty:
        assert parsed == base
    else:
        assert base < parsed < (base.replace(prerelease=None) if base.prerelease else base.bump_patch())


@given(tags, st.integers(0, 999), st.integers(0, 999), digests, shas, shas)
def test_more_commits_sort_later(tag: str, few: int, many: int, source: str, one: str, two: str) -> None:
    assume(few < many)

    def version(commits: int, sha: str) -> SemVer:
        return SemVer.parse(decide_version(GitState(sha, datetime.now(UTC), tag, commits), "v", source))

    assert version(few, one) < version(many, two)


@given(digests)
def test_without_git_every_digest_makes_semver(source: str) -> None:
    assert parse(decide_version(None, "v", source)) is not None


def test_digits_alone_do_not_become_a_number() -> None:
    assert decide_version(None, "v", "sha256:01234567" + "a" * 56) == "0.0.0-dev.src.s01234567"


def test_only_versions_are_tags_and_the_highest_counts() -> None:
    assert highest_tag(["v1.9.0", "v1.10.0", "v1.10.0-rc.1", "vnext", "1.99.0", "v2", "v3.0.0+x"], "v") == "v1.10.0"
    assert highest_tag(["shop-v1.0.0", "v2.0.0"], "shop-v") == "shop-v1.0.0"
    assert highest_tag(["vnext"], "v") is None


# with a real git


def decide(tree: SourceTree, override: str | None = None) -> str:
    application = load_application(tree.app)
    source = read_source(application)
    git = open_git(application.directory, tree.environment)
    found = None if git is None else read_git(git, source)
    return decide_version(found, application.tag_prefix, source.digest, override)


def test_a_tagged_commit(tree: SourceTree) -> None:
    assert decide(tree) == "1.0.0"
    tree.git("tag", "--annotate", "--message=x", "v1.1.0")
    assert decide(tree) == "1.1.0"


def test_only_commits_that_touch_the_inputs_count(tree: SourceTree) -> None:
    tree.commit("README.md")
    assert decide(tree) == "1.0.0"
    first = tree.commit("apps/shop/index.js")
    assert decide(tree) == f"1.0.1-dev.1.g{first[:7]}"
    tree.commit("README.md")
    assert decide(tree) == f"1.0.1-dev.1.g{first[:7]}"
    second = tree.commit("charts/web/NOTES.md")
    assert decide(tree) == f"1.0.1-dev.2.g{second[:7]}"


def test_only_tags_that_the_commit_reaches_count(tree: SourceTree) -> None:
    tree.git("checkout", "--quiet", "-b", "other")
    tree.commit("apps/shop/index.js")
    tree.git("tag", "v9.0.0")
    tree.git("checkout", "--quiet", "main")
    sha = tree.commit("apps/shop/other.js")
    assert decide(tree) == f"1.0.1-dev.1.g{sha[:7]}"


def test_each_application_has_its_own_tags(tree: SourceTree) -> None:
    write(tree.app / "kubernaut.yaml", (tree.app / "kubernaut.yaml").read_text() + "tagPrefix: shop-v\n")
    tree.commit()
    tree.git("tag", "shop-v3.2.1")
    tree.git("tag", "v7.0.0")
    assert decide(tree) == "3.2.1"


@pytest.mark.parametrize("path", ["apps/shop/index.js", "apps/shop/kubernaut.yaml", "charts/web/values.yaml", "apps/shop/new.js"])
def test_a_changed_input_is_dirty(tree: SourceTree, path: str) -> None:
    with (tree.root / path).open("a") as file:
        file.write("\n# changed\n")
    assert ".dirty." in decide(tree)


def test_a_deleted_input_is_dirty(tree: SourceTree) -> None:
    (tree.app / "index.js").unlink()
    assert ".dirty." in decide(tree)


def test_a_file_that_git_ignores_and_the_image_gets_is_dirty(tree: SourceTree) -> None:
    write(tree.root / ".gitignore", "*.log\n")
    tree.commit()
    write(tree.app / "a.log", "x")
    assert ".dirty." in decide(tree)


def test_changes_outside_the_inputs_are_not_dirty(tree: SourceTree) -> None:
    write(tree.app / ".dockerignore", "notes.md\nREADME.md\n")
    write(tree.app / "README.md", "x")
    tree.commit()
    tree.git("tag", "v2.0.0")
    write(tree.app / "notes.md", "not known to git, not sent to the engine")
    write(tree.app / "README.md", "known to git, changed, not sent to the engine")
    write(tree.root / "elsewhere", "x")
    (tree.app / "index.js").touch()
    assert decide(tree) == "2.0.0"


def clone(tree: SourceTree, depth: int) -> SourceTree:
    target = tree.root.parent / "clone"
    subprocess.run(["git", "clone", "--quiet", f"--depth={depth}", f"file://{tree.root}", target], check=True, env=tree.environment)
    return SourceTree(target)


def test_a_shallow_clone(tree: SourceTree) -> None:
    tree.commit("apps/shop/index.js")
    shallow = clone(tree, 1)
    with pytest.raises(ShallowClone):
        decide(shallow)
    assert decide(shallow, "5.0.0") == "5.0.0"
    shallow.git("fetch", "--quiet", "--unshallow", "--tags")
    assert decide(shallow) == decide(tree)


def test_a_shallow_clone_of_a_tagged_commit_needs_no_counting(tree: SourceTree) -> None:
    tree.commit("apps/shop/index.js")
    tree.git("tag", "v1.2.0")
    assert decide(clone(tree, 1)) == "1.2.0"


def test_without_a_repository_and_without_a_commit(tree: SourceTree) -> None:
    (tree.root / ".git").rename(tree.root.parent / "hidden")
    write(tree.app / "kubernaut.yaml", "name: shop\nchart: chart\n")
    (tree.app / "chart").mkdir()
    (tree.app / "chart" / "Chart.yaml").write_text("name: x\n")
    assert decide(tree).startswith("0.0.0-dev.src.")
    tree.git("init", "--quiet")
    assert decide(tree).startswith("0.0.0-dev.src.")
