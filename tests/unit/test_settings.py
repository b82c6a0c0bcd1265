from __future__ import annotations

import getpass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.messages import facts

from kubernaut.ci import CiBuild
from kubernaut.errors import SettingInvalid
from kubernaut.settings import SETTINGS, Settings, load_settings, parse_duration


def load(tmp_path: Path, text: str | None = None, environment: dict[str, str] | None = None, **arguments: Any) -> Settings:
    if text is not None:
        (tmp_path / "kubernaut.toml").write_text(text)
    return load_settings(arguments, environment=environment or {}, directory=tmp_path)


def test_precedence_is_arguments_environment_file_defaults(tmp_path: Path) -> None:
    text = 'timeout = "1m"\n'
    environment = {"KUBERNAUT_TIMEOUT": "2m"}
    for expected, origin, settings in [
        (300.0, "default", load(tmp_path)),
        (60.0, str(tmp_path / "kubernaut.toml"), load(tmp_path, text)),
        (120.0, "environment KUBERNAUT_TIMEOUT", load(tmp_path, text, environment)),
        (180.0, "argument --timeout", load(tmp_path, text, environment, timeout="3m")),
    ]:
        assert settings.timeout == expected
        assert settings.origins["timeout"] == origin


def test_lock_timeout_and_stale_after(tmp_path: Path) -> None:
    settings = load(tmp_path)
    assert (settings.lock_timeout, settings.stale_after) == (0.0, 900.0)
    settings = load(tmp_path, 'stale_after = "1h"\n', {"KUBERNAUT_LOCK_TIMEOUT": "90"}, lock_timeout="2m")
    assert (settings.lock_timeout, settings.stale_after) == (120.0, 3600.0)
    assert settings.origins["lock_timeout"] == "argument --lock-timeout"
    with pytest.raises(SettingInvalid, match=facts("lock_timeout", "'forever'")):
        load(tmp_path, lock_timeout="forever")


def test_file_is_found_upwards(tmp_path: Path) -> None:
    (tmp_path / "kubernaut.toml").write_text('registry = "a.example.com"\n')
    (tmp_path / "deep" / "er").mkdir(parents=True)
    assert load_settings(environment={}, directory=tmp_path / "deep" / "er").registry == "a.example.com"
    (tmp_path / "deep" / "kubernaut.toml").write_text('registry = "b.example.com"\n')
    assert load_settings(environment={}, directory=tmp_path / "deep" / "er").registry == "b.example.com"


def test_standard_variables_are_read_after_our_own(tmp_path: Path) -> None:
    assert load(tmp_path, environment={"DOCKER_HOST": "tcp://a"}).docker_host == "tcp://a"
    assert load(tmp_path, environment={"DOCKER_HOST": "tcp://a", "KUBERNAUT_DOCKER_HOST": "tcp://b"}).docker_host == "tcp://b"
    assert load(tmp_path, environment={"DOCKER_HOST": ""}).origins["docker_host"] == "not set"


def test_every_setting_is_an_attribute_with_an_origin(tmp_path: Path) -> None:
    settings = load(tmp_path)
    for row in SETTINGS:
        assert hasattr(settings, row.name)
        assert row.name in settings.origins
        assert row.help
        assert row.variables[0] == f"KUBERNAUT_{row.name.upper()}"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("registry = ", ("TOML",)),
        ('regsitry = "x"\n', ("'regsitry'", "'registry'")),
        ('zzz = "x"\n', ("'zzz'",)),
        ('registry = ""\n', ("registry",)),
        ("history_max = 0\n", ("history_max", "'0'", "1", "10000")),
        ("timeout = true\n", ("timeout",)),
        ('plain_http = ["internal:5000"]\n', ("plain_http",)),
        ("[registry]\n", ("registry",)),
    ],
)
def test_invalid_file_is_refused(tmp_path: Path, text: str, words: tuple[str, ...]) -> None:
    with pytest.raises(SettingInvalid, match=facts("kubernaut.toml", *words)):
        load(tmp_path, text)


def test_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "kubernaut.toml").write_bytes(b'registry = "\xff"\n')
    with pytest.raises(SettingInvalid, match=facts("kubernaut.toml")):
        load(tmp_path)


@pytest.mark.parametrize(
    "good", ["localhost:5000", "registry.example.com/team/a-b/c__d", "127.0.0.1:15000", "host", "xn--abc.example.com:443/a.b"]
)
def test_registry_is_normalized(tmp_path: Path, good: str) -> None:
    assert load(tmp_path, registry=good).registry == good
    assert load(tmp_path, registry=f"oci://{good}/").registry == good


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "https://host",
        "--x",
        "-x.com",
        "host:port",
        "HOST",
        "a//b",
        "a/../b",
        "a/b:tag",
        "user@host",
        "ho st",
        "host\n",
    ],
)
def test_invalid_registry_is_refused(tmp_path: Path, bad: str) -> None:
    with pytest.raises(SettingInvalid, match=facts("registry")):
        load(tmp_path, registry=bad)


def test_chart_registry_defaults_to_charts_below_the_registry(tmp_path: Path) -> None:
    assert load(tmp_path, registry="host/team").require_chart_registry() == "host/team/charts"
    assert load(tmp_path, registry="host/team", chart_registry="other").require_chart_registry() == "other"
    for call in (load(tmp_path).require_registry, load(tmp_path).require_chart_registry):
        with pytest.raises(SettingInvalid, match=facts("registry")):
            call()


@pytest.mark.parametrize(
    ("registry", "plain"),
    [
        ("localhost:5000/x", True),
        ("localhost", True),
        ("127.0.0.1:5000", True),
        ("127.1.2.3/x", True),
        ("127.evil.example.com", False),
        ("localhost.example.com", False),
        ("registry.example.com", False),
        ("internal:5000/team", True),
        ("other:80", True),
        ("internal/team", False),
    ],
)
def test_plain_http_hosts(tmp_path: Path, registry: str, plain: bool) -> None:
    assert load(tmp_path, plain_http="internal:5000, other:80").uses_plain_http(registry) is plain


@pytest.mark.parametrize(("text", "value"), [("90", 90), ("90s", 90), ("5m", 300), ("1h30m", 5400), ("1h1m1s", 3661), ("0", 0)])
def test_duration_is_parsed(text: str, value: float) -> None:
    assert parse_duration(text) == value


@pytest.mark.parametrize("text", ["", "m", "5 m", "5M", "-5s", "1.5h", "1m1h", "٣s", "٣", "9" * 400, "8d", "169h", "5m\n"])
def test_invalid_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=facts("duration")):
        parse_duration(text)


@given(st.integers(0, 99), st.integers(0, 99), st.integers(0, 99))
def test_durations_add_up(hours: int, minutes: int, rest: int) -> None:
    assert parse_duration(f"{hours}h{minutes}m{rest}s") == hours * 3600 + minutes * 60 + rest


def test_actor_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(tmp_path, environment={"USER": "ada"}).actor.startswith("ada@")
    build = {"USER": "ada", "JOB_NAME": "shop-deploy", "BUILD_NUMBER": "7", "BUILD_TAG": "hudson-shop-deploy-7"}
    assert load(tmp_path, environment=build).actor == "hudson"
    assert load(tmp_path, environment={**build, "BUILD_USER_ID": "eve"}).actor == "eve"
    assert load(tmp_path, environment={**build, "KUBERNAUT_ACTOR": "robot"}).actor == "robot"
    assert load(tmp_path, environment={"USER": "a\ndmin"}).actor.startswith("admin@")
    assert load(tmp_path, actor="Jenkins job 7").actor == "Jenkins job 7"

    def no_account() -> str:
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.setattr(getpass, "getuser", no_account)
    assert load(tmp_path).actor.startswith("uid-")


@pytest.mark.parametrize("name", ["actor", "context", "docker_host", "helm"])
def test_values_must_be_one_printable_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingInvalid, match=facts(name)):
        load(tmp_path, **{name: "a\nb"})


def test_build_comes_from_the_setting_or_the_ci_server(tmp_path: Path) -> None:
    assert load(tmp_path).build is None
    settings = load(tmp_path, environment={"BUILD_URL": "http://ada:canary@ci/7", "KUBERNAUT_ACTOR": "ada"})
    assert (settings.build_url, settings.build) == (None, CiBuild(url="http://ci/7"))
    settings = load(tmp_path, environment={"BUILD_URL": "http://ci/7", "KUBERNAUT_BUILD_URL": "https://ada:canary@ci/8?buildId=8"})
    assert (settings.build_url, settings.build) == ("https://ci/8?buildId=8", CiBuild(url="https://ci/8?buildId=8"))
    assert settings.origins["build_url"] == "environment KUBERNAUT_BUILD_URL"
    for strange in ("javascript:alert(1)", "a\nb", "7", "http://[::1"):
        with pytest.raises(SettingInvalid, match=facts("build_url")):
            load(tmp_path, build_url=strange)
        assert load(tmp_path, environment={"BUILD_URL": strange}).build is None  # the CI server's words stop nothing


@pytest.mark.parametrize("value", ["0", "-1", "10001", "many", "٣"])
def test_invalid_history_max_is_refused(tmp_path: Path, value: str) -> None:
    with pytest.raises(SettingInvalid, match=facts("history_max", "1", "10000")):
        load(tmp_path, history_max=value)


COUNTS = ("image_failures", "crash_restarts", "command_failures")
WAITS = ("config_timeout", "pending_timeout", "settle_time", "unprobed_time")


def test_defaults_of_the_rollout_settings(tmp_path: Path) -> None:
    settings = load(tmp_path)
    assert [getattr(settings, name) for name in COUNTS] == [2, 3, 2]
    assert [getattr(settings, name) for name in (*WAITS, "endpoints_timeout")] == [20.0, 60.0, 10.0, 5.0, 20.0]


@pytest.mark.parametrize("name", COUNTS)
def test_rollout_counts_are_from_1_to_100(tmp_path: Path, name: str) -> None:
    for number in (1, 100):
        assert getattr(load(tmp_path, f"{name} = {number}\n"), name) == number
    for text in ("0", "-1", "101", "2.5", "many", "٣", "3s", "9" * 5000):
        with pytest.raises(SettingInvalid, match=facts(name, "1", "100")):
            load(tmp_path, environment={f"KUBERNAUT_{name.upper()}": text})


@pytest.mark.parametrize("name", WAITS)
def test_rollout_durations_may_be_zero(tmp_path: Path, name: str) -> None:
    assert getattr(load(tmp_path, environment={f"KUBERNAUT_{name.upper()}": "0"}), name) == 0.0
    assert getattr(load(tmp_path, f'{name} = "1m30s"\n'), name) == 90.0
    for text in ("-1s", "soon", "8d"):
        with pytest.raises(SettingInvalid, match=facts(name, "duration")):
            load(tmp_path, **{name: text})


def test_endpoints_timeout_is_at_least_a_second(tmp_path: Path) -> None:
    assert load(tmp_path, endpoints_timeout="1s").endpoints_timeout == 1.0
    for text in ("0", "0m", "-1s", "soon"):
        with pytest.raises(SettingInvalid, match=facts("endpoints_timeout", "duration")):
            load(tmp_path, endpoints_timeout=text)


def test_defaults_and_absent_values_are_not_given(tmp_path: Path) -> None:
    settings = load(tmp_path, 'timeout = "5m"\n', {"KUBERNAUT_CRASH_RESTARTS": "3"}, settle_time="10s")
    given = {row.name for row in SETTINGS if settings.is_given(row.name)}
    assert given == {"timeout", "crash_restarts", "settle_time"}  # a value counts also if it equals the default


def test_serve_settings_have_their_options(tmp_path: Path) -> None:
    settings = load(tmp_path)
    assert (settings.serve_host, settings.serve_port) == ("127.0.0.1", 8080)
    settings = load(tmp_path, "serve_port = 9090\n", serve_host="::1")
    assert (settings.serve_host, settings.serve_port) == ("::1", 9090)
    assert settings.origins["serve_host"] == "argument --host"
    assert load(tmp_path, "serve_port = 0\n").serve_port == 0
    for port in ("-1", "65536", "http", "١٢", "999999999999"):
        with pytest.raises(SettingInvalid, match="serve_port"):
            load(tmp_path, environment={"KUBERNAUT_SERVE_PORT": port})


@pytest.mark.parametrize("url", ["https://kubernaut.example.com", "http://127.0.0.1:8080", "https://[::1]:8443/team/"])
def test_server_address_is_accepted(tmp_path: Path, url: str) -> None:
    assert load(tmp_path, server=url).server == url.rstrip("/")


@pytest.mark.parametrize(
    "url",
    [
        "kubernaut.example.com",
        "ftp://a",
        "https://",
        "https://ada:secret@a",
        "https://a?token=b",
        "https://a#b",
        "https://a b",
        "https://ä",
    ],
)
def test_invalid_server_address_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(SettingInvalid, match="server"):
        load(tmp_path, server=url)


def test_token_path_defaults_to_the_state_folder(tmp_path: Path) -> None:
    home = {"HOME": "/home/ada"}
    for environment, expected in (
        (home, "/home/ada/.local/state/kubernaut/token"),
        ({**home, "XDG_STATE_HOME": "/state"}, "/state/kubernaut/token"),
        ({**home, "XDG_STATE_HOME": "relative"}, "/home/ada/.local/state/kubernaut/token"),
        ({**home, "KUBERNAUT_TOKEN_FILE": "/run/token"}, "/run/token"),
        ({**home, "KUBERNAUT_TOKEN_FILE": "~/token"}, "/home/ada/token"),
        ({**home, "KUBERNAUT_TOKEN_FILE": "token"}, str(Path.cwd() / "token")),
    ):
        assert load(tmp_path, environment=environment).token_path() == Path(expected)
