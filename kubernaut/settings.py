"""The settings: one table, one precedence, and the origin of each value.

Defaults < ``kubernaut.toml`` < environment < arguments. Settings are read once, by the command line or another interface, and
passed down; no other code reads the environment. Secrets are not settings: credentials stay where Docker, Helm and kubectl keep
them.
"""

from __future__ import annotations

import getpass
import ipaddress
import os
import re
import socket
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from kubernaut.ci import CiBuild, ci_build, ci_user, make_build
from kubernaut.errors import SettingInvalid

FILE_NAME = "kubernaut.toml"

_DURATION = re.compile(r"(?:([0-9]{1,9})h)?(?:([0-9]{1,9})m)?(?:([0-9]{1,9})s)?")
_REGISTRY = re.compile(r"[a-z0-9]+((\.|-+)[a-z0-9]+)*(:[0-9]{1,5})?(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*")
_SERVER = re.compile(r"https?://[^\s/@?#\\]+(/[^\s@?#\\]*)?")
_REPOSITORY = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?/(?!\.\.?$)[A-Za-z0-9._-]+")
_GITHUB = "https://api.github.com"
_DEFAULT, _NOT_SET = "default", "not set"  # origins
_LONGEST = 7 * 24 * 3600


def parse_duration(text: str) -> float:
    """Return the seconds of a duration such as ``90``, ``90s``, ``5m`` or ``1h30m``. Raises: ValueError."""
    match = _DURATION.fullmatch(f"{text}s" if text.isdigit() else text)
    if not text.isascii() or not text or not match:
        raise ValueError("a duration such as 90s, 5m or 1h30m")
    hours, minutes, rest = (int(part or 0) for part in match.groups())
    total = hours * 3600 + minutes * 60 + rest
    if total > _LONGEST:
        raise ValueError("a duration of at most 7 days")
    return float(total)


def parse_registry(text: str) -> str:
    """Return a registry, ``HOST[:PORT][/PREFIX]``, without ``oci://`` and trailing slashes. Raises: ValueError."""
    stripped = text.removeprefix("oci://").rstrip("/")
    if not _REGISTRY.fullmatch(stripped):
        raise ValueError("a registry such as registry.example.com/team, without a scheme")
    return stripped


def _wait(text: str) -> float:
    seconds = parse_duration(text)
    if not seconds:
        raise ValueError("a duration of at least 1s")
    return seconds


def _count(text: str, most: int = 100) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 9 or not 1 <= int(text) <= most:
        raise ValueError(f"a number from 1 to {most}")
    return int(text)


def _revisions(text: str) -> int:
    return _count(text, 10_000)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 5 or int(text) > 65_535:
        raise ValueError("a port from 1 to 65535, or 0 for any free port")
    return int(text)


def _server(text: str) -> str:
    if not text.isascii() or not _SERVER.fullmatch(text):
        raise ValueError("an address such as https://kubernaut.example.com, without a user, a query or a fragment")
    return text.rstrip("/")


def parse_repository(text: str) -> str:
    """Return a GitHub repository, ``OWNER/NAME``. Raises: ValueError."""
    if not _REPOSITORY.fullmatch(text):
        raise ValueError("a repository such as team/hello-world")
    return text


def _page(text: str) -> str:
    build = make_build(url=text)
    if build is None or build.url is None:
        raise ValueError("an address such as https://ci.example.com/job/shop-deploy/7/")
    return build.url


def _text(text: str) -> str:
    if not text.isprintable():
        raise ValueError("a line of printable characters")
    return text


def _choice(text: str) -> str:
    if text not in ("fail", "take"):
        raise ValueError("`fail` or `take`")
    return text


@dataclass(frozen=True)
class Setting:
    """A row of the table.

    Attributes:
        name: The attribute of :class:`Settings`, and the key in ``kubernaut.toml``.
        parse: Converts text to the value; the message of its ``ValueError`` says what was expected.
        default: The default as text; ``None`` for "not set".
        variables: The environment variables; the first that is set wins.
        help: A line for ``kubernaut config`` and the documentation.
        option: The command-line option, whether or not a command has it.
    """

    name: str
    parse: Callable[[str], Any]
    default: str | None
    variables: tuple[str, ...]
    help: str
    option: str


def _setting(
    name: str,
    help: str,
    *,
    parse: Callable[[str], Any] = _text,
    default: str | None = None,
    standard: tuple[str, ...] = (),
    option: str = "",
) -> Setting:
    own = "KUBERNAUT_" + name.upper()
    return Setting(name, parse, default, (own, *standard), help, option or "--" + name.replace("_", "-"))


SETTINGS = (
    _setting("registry", "registry of the images, HOST[:PORT][/PREFIX]", parse=parse_registry),
    _setting("chart_registry", "registry of the charts; REGISTRY/charts by default", parse=parse_registry),
    _setting("pull_registry", "the registry's name for the cluster's nodes, if it differs", parse=parse_registry),
    _setting("plain_http", "registries and servers besides localhost that use HTTP, comma-separated HOST[:PORT]"),
    _setting("context", "kube context; the kubeconfig's current context by default"),
    _setting("kubeconfig", "kubeconfig file", standard=("KUBECONFIG",)),
    _setting("docker_host", "address of the Docker engine", standard=("DOCKER_HOST",)),
    _setting("docker_config", "folder of Docker's config.json with the registry credentials", standard=("DOCKER_CONFIG",)),
    _setting("helm", "Helm program, 3.17 or newer", default="helm"),
    _setting("timeout", "time that a deploy may take until its pods are ready", parse=parse_duration, default="5m"),
    _setting("lock_timeout", "time to wait for another operation on the release; 0 for no wait", parse=parse_duration, default="0"),
    _setting(
        "stale_after", "age at which an unfinished release of plain Helm counts as abandoned", parse=parse_duration, default="15m"
    ),
    _setting("on_conflict", "what Helm 4 does with fields that others changed: `fail` or `take`", parse=_choice, default="fail"),
    _setting("history_max", "number of releases of a name that Helm keeps", parse=_revisions, default="50"),
    _setting(
        "image_failures", "failed pulls of an image that is missing or denied; then a deploy fails", parse=_count, default="2"
    ),
    _setting("crash_restarts", "restarts of a crashing container; then a deploy fails", parse=_count, default="3"),
    _setting(
        "command_failures", "starts of a container whose command cannot be run; then a deploy fails", parse=_count, default="2"
    ),
    _setting(
        "config_timeout",
        "time for a missing ConfigMap, Secret, key or object to appear; then a deploy fails; 0 for at once",
        parse=parse_duration,
        default="20s",
    ),
    _setting(
        "pending_timeout",
        "time for pods to fit the quota, be admitted and get a node; then a deploy fails; 0 for at once",
        parse=parse_duration,
        default="1m",
    ),
    _setting(
        "endpoints_timeout", "time for a Service of ready pods to get endpoints; then a deploy fails", parse=_wait, default="20s"
    ),
    _setting("settle_time", "time that a restarted container must stay ready; 0 for no wait", parse=parse_duration, default="10s"),
    _setting(
        "unprobed_time",
        "time that a container without a readiness probe must run; 0 for no wait",
        parse=parse_duration,
        default="5s",
    ),
    _setting("actor", "name of the deployer in the history; by default user@host, in a CI build its user or `jenkins`"),
    _setting("build_url", "page of the CI build that runs kubernaut; the CI server's BUILD_URL by default", parse=_page),
    _setting("server", "kubernaut server that runs the commands, such as https://kubernaut.example.com", parse=_server),
    _setting("token_file", "file with the server's token, as a curl header; STATE/kubernaut/token by default"),
    _setting(
        "jenkins_url",
        "Jenkins server with the jobs, such as https://ci.example.com",
        parse=_server,
        standard=("JENKINS_URL", "HUDSON_URL"),
        option="--url",
    ),
    _setting("jenkins_user", "Jenkins user that sets up and runs jobs", standard=("JENKINS_USER",), option="--user"),
    _setting("jenkins_token_file", "file with that user's API token; or the token itself in KUBERNAUT_JENKINS_TOKEN"),
    _setting(
        "github_url",
        "GitHub API that receives commit statuses",
        parse=_server,
        default=_GITHUB,
        standard=("GITHUB_API_URL",),
    ),
    _setting("github_repository", "GitHub repository, OWNER/NAME; from git by default", parse=parse_repository),
    _setting("github_token_file", "file with a token for it; or the token itself in KUBERNAUT_GITHUB_TOKEN"),
    _setting("serve_host", "address on which `kubernaut serve` listens", default="127.0.0.1", option="--host"),
    _setting("serve_port", "port on which `kubernaut serve` listens; 0 for any", parse=_port, default="8080", option="--port"),
)

_BY_NAME = {row.name: row for row in SETTINGS}


@dataclass(frozen=True)
class Settings:
    """The values in effect and their origins; ``build`` is the CI build that runs kubernaut, if any."""

    registry: str | None
    chart_registry: str | None
    pull_registry: str | None
    plain_http: str | None
    context: str | None
    kubeconfig: str | None
    docker_host: str | None
    docker_config: str | None
    helm: str
    timeout: float
    lock_timeout: float
    stale_after: float
    on_conflict: Literal["fail", "take"]
    history_max: int
    image_failures: int
    crash_restarts: int
    command_failures: int
    config_timeout: float
    pending_timeout: float
    endpoints_timeout: float
    settle_time: float
    unprobed_time: float
    actor: str
    build_url: str | None
    build: CiBuild | None
    server: str | None
    token_file: str | None
    jenkins_url: str | None
    jenkins_user: str | None
    jenkins_token_file: str | None
    github_url: str
    github_repository: str | None
    github_token_file: str | None
    serve_host: str
    serve_port: int
    origins: Mapping[str, str]
    environment: Mapping[str, str]

    def is_given(self, name: str) -> bool:
        """Return whether a setting has a value that the user gave, instead of its default."""
        return self.origins[name] not in (_DEFAULT, _NOT_SET)

    def require_registry(self) -> str:
        """Return the registry. Raises: SettingInvalid (not set)."""
        if self.registry is None:
            raise SettingInvalid(
                "No registry is set.",
                hint='Set KUBERNAUT_REGISTRY=HOST/PREFIX; `eval "$(kubernaut local env)"` selects the local platform\'s registry.',
            )
        return self.registry

    def require_chart_registry(self) -> str:
        """Return the registry of the charts. Raises: SettingInvalid (none is set)."""
        return self.chart_registry or f"{self.require_registry()}/charts"

    def token_path(self) -> Path:
        """Return the file with the server's token; by default ``kubernaut/token`` in the user's state folder."""
        if self.token_file is not None:
            return self.path(self.token_file)
        state = Path(self.environment.get("XDG_STATE_HOME") or "")  # the XDG specification ignores relative paths
        return (state if state.is_absolute() else self.path("~/.local/state")) / "kubernaut" / "token"

    def path(self, file: str) -> Path:
        """Return the absolute path of a file in a setting; a leading ``~/`` is the user's home."""
        home = Path(self.environment.get("HOME") or Path.home())
        return home / file[2:] if file.startswith("~/") else Path(file).absolute()

    def uses_plain_http(self, registry: str) -> bool:
        """Return whether a registry or server is used without TLS: localhost, and the hosts in ``plain_http``."""
        host = registry.split("/", 1)[0]
        named = {entry.strip() for entry in (self.plain_http or "").split(",")}
        return is_loopback(host.partition(":")[0]) or host in named


def load_settings(
    arguments: Mapping[str, Any] | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
) -> Settings:
    """Return the settings.

    Args:
        arguments: Explicit values by setting name; ``None`` means "not given".
        environment: The environment variables; the process's own by default.
        directory: The folder from which ``kubernaut.toml`` is searched upwards; the current folder by default.

    Raises:
        SettingInvalid: A value is invalid or a key unknown; the message names its origin.
    """
    environment = dict(os.environ if environment is None else environment)
    path, file_values = _read_file(directory or Path.cwd())
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for row in SETTINGS:
        text, origin = _find(row, arguments or {}, environment, file_values, path)
        values[row.name] = None if text is None else _read(row, text, origin)
        origins[row.name] = origin
    values["actor"] = values["actor"] or ci_user(environment) or _actor(environment)
    values["build"] = ci_build(environment, values["build_url"])
    return Settings(**values, origins=origins, environment=environment)


def _find(
    row: Setting, arguments: Mapping[str, Any], environment: Mapping[str, str], file_values: Mapping[str, Any], path: Path | None
) -> tuple[str | None, str]:
    if arguments.get(row.name) is not None:
        return str(arguments[row.name]), f"argument {row.option}"
    for variable in row.variables:
        if environment.get(variable):
            return environment[variable], f"environment {variable}"
    if row.name in file_values:
        return str(file_values[row.name]), str(path)
    return row.default, _DEFAULT if row.default is not None else _NOT_SET


def _read(row: Setting, text: str, origin: str) -> Any:
    try:
        return row.parse(text)
    except ValueError as error:
        raise SettingInvalid(f"The setting {row.name} is {text!r} ({origin}); expected {error}.") from error


def _read_file(directory: Path) -> tuple[Path | None, dict[str, Any]]:
    for folder in (directory, *directory.parents):
        path = folder / FILE_NAME
        if path.is_file():
            return path, _checked(path)
    return None, {}


def _checked(path: Path) -> dict[str, Any]:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingInvalid(f"{path} is not TOML: {error}.") from error
    except OSError as error:
        raise SettingInvalid(f"{path} cannot be read: {error.strerror}.") from error
    for key, value in content.items():
        if not isinstance(value, str | int):
            raise SettingInvalid(f"{path}: {key} must be a string or an integer.")
        if key not in _BY_NAME:
            near = get_close_matches(key, _BY_NAME, n=1)
            raise SettingInvalid(f"{path}: unknown setting {key!r}" + (f"; did you mean {near[0]!r}?" if near else "."))
    return content


def is_loopback(name: str) -> bool:
    """Return whether a host is ``localhost`` or a loopback address."""
    try:
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _actor(environment: Mapping[str, str]) -> str:
    user = environment.get("USER") or _account()
    return "".join(char for char in f"{user}@{socket.gethostname()}" if char.isprintable())


def _account() -> str:
    # In a container the process's user may be a number without an account.
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid-{os.getuid()}"
