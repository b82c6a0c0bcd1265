"""The Hudson CI server of the tests: the behaviour that the tests of the jobs rely on, and its patch."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest
import requests
from support.ci_jobs import Jobs
from support.ci_scenario import no_secret_in_arguments
from support.ci_server import leaks
from support.hudson import Hudson, HudsonHome, install
from support.hudson.patch import CLASS, WEB_XML, patch, with_crumbs
from support.waiting import until

from kubernaut.errors import PlatformFailed, PortTaken, SettingInvalid, ToolMissing

SHIPPED = """<web-app>
  <!-- filter>
    <filter-name>csrf-filter</filter-name>
    <filter-class>hudson.security.csrf.CrumbFilter</filter-class>
  </filter -->
  <!-- filter-mapping>
    <filter-name>csrf-filter</filter-name>
    <url-pattern>/*</url-pattern>
  </filter-mapping -->
</web-app>
"""
START = """
import sys
from pathlib import Path
from support.hudson import Hudson, HudsonHome
server = Hudson(HudsonHome(Path(sys.argv[1])))
server.start()
print(server.pid, flush=True)
sys.stdin.read()
"""
WAIT = "import sys; sys.stdin.read()"


@pytest.fixture
def jobs(ci_server: Hudson) -> Jobs:
    return Jobs(ci_server.url, ci_server.user, ci_server.token_file)


@pytest.mark.platform
def test_changes_need_a_crumb_and_permission(ci_server: Hudson, jobs: Jobs) -> None:
    refused = jobs.ask("POST", "/createItem", params={"name": "local-crumb"}, data=b"<project/>", crumb=False, status=403)
    assert "No valid crumb was included in the request" in refused.text
    stale = jobs.ask("POST", "/createItem", params={"name": "local-crumb"}, headers={".crumb": "0" * 32}, crumb=False, status=403)
    assert "No valid crumb" in stale.text
    reader = Jobs(ci_server.url, ci_server.reader.name, ci_server.reader.token_file)
    reader.create("local-crumb", "true", status=403)
    assert reader.session.get(f"{ci_server.url}/api/json", timeout=30).status_code == 200
    jobs.ask("GET", "/job/local-crumb/api/json", status=404)
    anonymous = requests.get(f"{ci_server.url}/api/json", timeout=30)
    assert (anonymous.status_code, "/login?from=" in anonymous.text) == (403, True)


@pytest.mark.platform
def test_build_environment(ci_server: Hudson, jobs: Jobs) -> None:
    jobs.create("local-environment", 'env; echo "said $WORD"', "WORD")
    jobs.run("local-environment", WORD="é 😀 $(id)")
    build = jobs.ended("local-environment", 1)
    console = jobs.console("local-environment", 1)
    assert build["result"] == "SUCCESS", console
    assert f"BUILD_URL={ci_server.url}/job/local-environment/1/\n" in console
    assert "said é 😀 $(id)\n" in console
    # Variables of the process that started the server, such as pytest's, are not passed on.
    # Two first logins at once would ruin the map of the server's environment, had it no such entry from the beginning.
    assert b"HUDSON_USER=ci" in Path(f"/proc/{ci_server.pid}/environ").read_bytes().split(b"\0")
    assert "PYTEST_CURRENT_TEST" in os.environ
    assert "PYTEST" not in console


@pytest.mark.platform
def test_aborted_build_terminates_its_processes(ci_server: Hudson, jobs: Jobs) -> None:
    jobs.create("local-abort", "trap 'touch terminated; exit 1' TERM\ntouch begun\nwhile true; do read -t 0.1 < <(:); done")
    jobs.run("local-abort")
    workspace = ci_server.home.job("local-abort") / "workspace"
    until((workspace / "begun").exists, "the build runs")
    assert ci_server.build_processes()
    jobs.stop("local-abort", 1)
    assert jobs.ended("local-abort", 1)["result"] == "ABORTED"
    until((workspace / "terminated").exists, "the step got SIGTERM")
    until(lambda: not ci_server.build_processes(), "none of its processes is left")


@pytest.mark.platform
def test_restart_keeps_jobs_and_names_an_unreadable_one(ci_server: Hudson, jobs: Jobs) -> None:
    jobs.create("local-restart", "echo hello")
    jobs.run("local-restart")
    jobs.ended("local-restart", 1)
    url, password = ci_server.url, ci_server.home.admin.password()
    ci_server.stop()
    poison = ci_server.home.job("local-poison")
    poison.mkdir()
    (poison / "config.xml").write_text("<?xml version='1.0' encoding='UTF-8'?><flow-definition/>")
    try:
        with pytest.raises(PlatformFailed, match="Hudson") as caught:
            ci_server.start()
        assert "flow-definition" in "\n".join(caught.value.details)
        assert ci_server.pid is None
    finally:
        ci_server.home.remove_job("local-poison")
        ci_server.start()
    assert (ci_server.url, ci_server.home.admin.password()) == (url, password)
    assert [build["number"] for build in jobs.builds("local-restart")] == [1]
    ci_server.kill()
    ci_server.start()
    assert jobs.console("local-restart", 1).count("hello") == 1


@pytest.mark.platform
def test_taken_port_is_named(ci_server: Hudson, tmp_path: Path) -> None:
    server = Hudson(HudsonHome(tmp_path))
    with socket.create_server(("127.0.0.1", server.port)), pytest.raises(PortTaken, match=rf"\b{server.port}\b"):
        server.start()
    assert server.pid is None


@pytest.mark.platform
def test_server_ends_with_its_parent(ci_server: Hudson, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-c", START, str(tmp_path)]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        pid = int(starter.stdout.readline())
        starter.kill()
    until(lambda: not _lives(pid), f"the server, process {pid}, has ended")


@pytest.mark.platform
def test_leaked_secret_is_found(ci_server: Hudson, jobs: Jobs) -> None:
    secret = f"canary-{os.urandom(8).hex()}"
    assert leaks(ci_server.home, [secret]) == []
    jobs.create("local-leak", f"echo {secret}")
    jobs.run("local-leak")
    jobs.ended("local-leak", 1)
    jobs.ask("GET", "/api/json", params={"x": secret})

    def found() -> set[str]:
        return {Path(file).name for file in leaks(ci_server.home, [secret])}

    # A request's line may stand in the log a moment after its answer.
    until(lambda: found() >= {"server.log", "config.xml", "log"}, f"it is found: {found()}")


def test_secret_in_arguments_is_noticed() -> None:
    secret = f"canary-{os.urandom(8).hex()}"
    with no_secret_in_arguments((secret,)), subprocess.Popen([sys.executable, "-c", WAIT, "other"], stdin=subprocess.PIPE) as plain:
        plain.communicate(timeout=20)
    found = pytest.raises(AssertionError, match=r"a secret stood in the arguments of .*python")
    with (
        found,
        no_secret_in_arguments((secret,)) as seen,
        subprocess.Popen([sys.executable, "-c", WAIT, secret], stdin=subprocess.PIPE) as writer,
    ):
        until(lambda: seen, "it was noticed")
        writer.communicate(timeout=20)


def _lives(pid: int) -> bool:
    with suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def a_war(folder: Path, web_xml: str = SHIPPED, **more: str) -> Path:
    with zipfile.ZipFile(folder / "shipped.war", "w") as war:
        war.writestr(WEB_XML, web_xml)
        war.writestr("index.html", "hello")
        for name, text in more.items():
            war.writestr(name, text)
    return folder / "shipped.war"


@pytest.fixture
def compiled(tmp_path: Path) -> Path:
    (tmp_path / "a.class").write_bytes(b"\xca\xfe\xba\xbe")
    return tmp_path / "a.class"


def test_patch_changes_two_files_only(tmp_path: Path, compiled: Path) -> None:
    patch(a_war(tmp_path), compiled, tmp_path / "patched.war")
    with zipfile.ZipFile(tmp_path / "patched.war") as war:
        assert sorted(war.namelist()) == sorted([WEB_XML, "index.html", CLASS])
        assert war.read(CLASS) == compiled.read_bytes()
        assert war.read("index.html") == b"hello"
        assert "<!--" not in war.read(WEB_XML).decode()


@pytest.mark.parametrize("web_xml", ["", "<web-app/>", SHIPPED * 2, with_crumbs(SHIPPED), SHIPPED.replace("CrumbFilter", "Crumbs")])
def test_patch_refuses_an_unknown_war(tmp_path: Path, compiled: Path, web_xml: str) -> None:
    with pytest.raises(PlatformFailed, match=r"web\.xml"):
        patch(a_war(tmp_path, web_xml), compiled, tmp_path / "patched.war")
    assert not (tmp_path / "patched.war").exists()


def test_patch_refuses_other_files(tmp_path: Path, compiled: Path) -> None:
    (tmp_path / "page.html").write_text("<html>not found</html>")
    with pytest.raises(PlatformFailed, match=r"page\.html"):
        patch(tmp_path / "page.html", compiled, tmp_path / "patched.war")
    with zipfile.ZipFile(tmp_path / "empty.war", "w"):
        pass
    with pytest.raises(PlatformFailed, match=r"empty\.war"):
        patch(tmp_path / "empty.war", compiled, tmp_path / "patched.war")
    with pytest.raises(PlatformFailed, match=r"shipped\.war"):
        patch(a_war(tmp_path, **{CLASS: "x"}), compiled, tmp_path / "patched.war")


def test_fetched_file_is_checked_against_its_hash(tmp_path: Path) -> None:
    (tmp_path / "a.jar").write_bytes(b"a")
    install.check_hashes(tmp_path, {"a.jar": "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"})
    with pytest.raises(PlatformFailed, match=r"a\.jar.*ca978112"):
        install.check_hashes(tmp_path, {"a.jar": "0" * 64})


def test_missing_java_is_a_missing_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissing, match=r"\bjava\b") as caught:
        Hudson(HudsonHome(tmp_path / "home"), cache_home=tmp_path / "cache").start()
    assert "Maven" in str(caught.value.hint)
    with pytest.raises(ToolMissing, match=r"\bmvn\b.*\bjavac\b"):
        install.find_tools("mvn", "javac")
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/etc"])
def test_invalid_job_names_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingInvalid):
        HudsonHome(tmp_path).remove_job(name)


def test_passwords_are_random_and_private(tmp_path: Path) -> None:
    homes = [HudsonHome(tmp_path / name) for name in ("a", "b")]
    for home in homes:
        home.prepare("http://127.0.0.1:1/")
    files = [user.token_file for home in homes for user in (home.admin, home.reader)]
    assert len({file.read_text() for file in files}) == 4
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    homes[0].prepare("http://127.0.0.1:1/")
    assert {file: file.read_bytes() for file in before} == before
