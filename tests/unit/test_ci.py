"""The CI build in the environment variables of Jenkins and Hudson, also in hostile ones."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubernaut.ci import MAX_TEXT, MAX_URL, CiBuild, ci_build, ci_source, ci_user, make_build, sanitize_build

CANARY = "canary-5f3a"
JENKINS = {
    "JENKINS_URL": "https://ci.example.com/",
    "BUILD_URL": "https://ci.example.com/job/team/job/shop-deploy/7/",
    "JOB_NAME": "team/shop-deploy",
    "BUILD_NUMBER": "7",
    "BUILD_TAG": "jenkins-team-shop-deploy-7",
    "CHANGE_ID": "31",
}
HUDSON = {"JOB_NAME": "shop-deploy", "BUILD_NUMBER": "12", "BUILD_TAG": "hudson-shop-deploy-12", "BUILD_ID": "2026-11-22_16-30-03"}
SHA = "31fba06c0ffee31fba06c0ffee31fba06c0ffee0"
texts = st.text(max_size=60) | st.from_regex(r"https?://[^/]*@?[^/]*(/.*)?", fullmatch=True)


def test_build_of_jenkins_and_hudson() -> None:
    assert ci_build(JENKINS) == CiBuild(
        url=JENKINS["BUILD_URL"], job="team/shop-deploy", number=7, tag="jenkins-team-shop-deploy-7", change="31"
    )
    assert ci_build(HUDSON) == CiBuild(job="shop-deploy", number=12, tag="hudson-shop-deploy-12")


@pytest.mark.parametrize(
    ("server", "job", "page"),
    [
        ({"JENKINS_URL": "https://ci.example.com/"}, "shop", "https://ci.example.com/job/shop/12/"),
        ({"JENKINS_URL": "https://ada:canary@ci.example.com/jenkins"}, "a/b", "https://ci.example.com/jenkins/job/a/job/b/12/"),
        ({"HUDSON_URL": "http://127.0.0.1:8080"}, "ü x/feature%2Fy", "http://127.0.0.1:8080/job/%C3%BC%20x/job/feature%252Fy/12/"),
        ({"JENKINS_URL": "nowhere", "HUDSON_URL": "http://ci"}, "shop", "http://ci/job/shop/12/"),
        ({"JENKINS_URL": "https://ci"}, "../../computer", None),
        ({"JENKINS_URL": "https://ci"}, "a//b", None),
    ],
)
def test_page_without_a_build_url(server: dict[str, str], job: str, page: str | None) -> None:
    build = ci_build({**HUDSON, **server, "JOB_NAME": job})
    assert build is not None
    assert (build.url, build.job, build.number) == (page, job, 12)


def test_no_build_outside_a_ci_server() -> None:
    assert ci_build({}) is None
    assert ci_build({"JOB_NAME": "shop"}) is None
    assert ci_build({"BUILD_NUMBER": "7", "BUILD_TAG": "x", "CHANGE_ID": "1"}) is None
    assert ci_build({"JOB_NAME": "", "BUILD_NUMBER": ""}) is None
    assert ci_build({"JOB_NAME": "shop"}, "https://ci/7") == CiBuild(url="https://ci/7")
    assert ci_build(JENKINS, "https://other/8") == ci_build({**JENKINS, "BUILD_URL": "https://other/8"})


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "file:///etc/passwd",
        "ci.example.com/7",
        "https://",
        "https://ci/\n7",
        "https://ci/ 7",
        "https://ci/\u202e7",
        "https://ci/\udcff",
        "http://[::1",
        "http://ci:port/",
        "https://ci/" + "x" * MAX_URL,
    ],
)
def test_invalid_page_is_omitted(url: str) -> None:
    assert ci_build({**HUDSON, "BUILD_URL": url}) == ci_build(HUDSON)
    assert ci_build({"BUILD_URL": url}) is None


def test_credentials_are_removed() -> None:
    build = ci_build(
        {
            **JENKINS,
            "BUILD_URL": f"https://ada:{CANARY}@ci.example.com/job/7/?token={CANARY}#top",
            "BUILD_TAG": f"jenkins-7 password={CANARY}",
            "CHANGE_ID": f"https://ada:{CANARY}@example.com/31",
        }
    )
    assert build is not None
    assert CANARY not in build.model_dump_json()
    assert (build.url or "").startswith("https://ci.example.com/job/7/")


def test_texts_are_printable_and_bounded() -> None:
    build = ci_build({**HUDSON, "JOB_NAME": "a\x1b[31m\nb", "BUILD_TAG": "t" * 9999, "CHANGE_ID": "\x00\u202e\udcff"})
    assert build == CiBuild(job="a?[31m?b", number=12, tag="t" * MAX_TEXT, change="???")
    for number in ("0", "-1", "7\n8", "1e3", "٣", "9" * 40, "seven"):
        assert ci_build({**HUDSON, "BUILD_NUMBER": number}) is None


@given(st.dictionaries(st.sampled_from(sorted({*JENKINS, "HUDSON_URL", "BUILD_USER_ID", "GIT_URL", "GIT_COMMIT"})), texts))
def test_hostile_environment_gives_a_valid_build(environment: dict[str, str]) -> None:
    build = ci_build(environment)
    values = [*(build.model_dump().values() if build else ()), ci_user(environment), *ci_source(environment)]
    assert all(text.isprintable() and len(text) < 9 * MAX_URL for text in values if isinstance(text, str))
    assert sanitize_build(build) == build, "a sanitized build does not change"


def test_without_a_valid_value_the_build_is_unknown() -> None:
    assert make_build() is None
    assert make_build(url="nonsense", job=" ", number="x") is None
    assert sanitize_build(CiBuild()) is None
    assert sanitize_build(None) is None


def test_label() -> None:
    assert CiBuild(url="https://ci/7", job="shop", number=7).label == "https://ci/7"
    assert CiBuild(job="team/shop", number=7, tag="t").label == "team/shop #7"
    assert CiBuild(tag="t").label == ""


def test_user_of_a_build() -> None:
    assert ci_user({}) is None
    assert ci_user({"BUILD_USER_ID": "eve"}) is None
    assert ci_user(JENKINS) == "jenkins"
    assert ci_user(HUDSON) == "hudson"
    assert ci_user({"JOB_NAME": "shop", "BUILD_NUMBER": "1"}) == "jenkins"
    assert ci_user({**JENKINS, "BUILD_USER_ID": "eve\n"}) == "eve"


@pytest.mark.parametrize(
    ("commit", "url", "expected"),
    [
        (SHA, "https://ada:canary@git.example.com/shop.git?x#y", (SHA, "https://git.example.com/shop.git")),
        (SHA.upper(), "git@example.com:team/shop.git", (SHA, "git@example.com:team/shop.git")),
        ("a" * 64, "/srv/git/shop.git", ("a" * 64, "/srv/git/shop.git")),
        (SHA[:39], "a\nb", (None, None)),
        ("HEAD", "", (None, None)),
        ("$(id)", "https://[::1", (None, None)),
    ],
)
def test_source_of_a_build(commit: str, url: str, expected: tuple[str | None, str | None]) -> None:
    assert ci_source({"GIT_COMMIT": commit, "GIT_URL": url}) == expected
