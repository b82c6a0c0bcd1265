"""The Docker engine, through docker-py; the only file that imports ``docker``.

Builds from a context that is passed as a tar stream, pushes, and reads credentials as the Docker command line does. It decides
nothing about names or versions. docker-py reports a failed build or push as another line of output; here that is raised, as is a
stream that ends without a result.
"""

from __future__ import annotations

import re
import socket
import subprocess
import threading
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any

import docker
import docker.auth
import docker.credentials
import docker.errors
import docker.utils.build
import urllib3.exceptions

from kubernaut.adapters.process import await_stop, is_stop
from kubernaut.adapters.registry import TOKEN_USER, Credentials
from kubernaut.errors import (
    BuildFailed,
    EngineUnreachable,
    ImageNotFound,
    KubernautError,
    RegistryDenied,
    RegistryUnreachable,
    SettingInvalid,
)

DEFAULT_HOST = "unix:///var/run/docker.sock"
TAIL = 20
_STEP = re.compile(r"Step \d+/\d+ : .*")
_ID = re.compile(r"sha256:[0-9a-f]{64}")
_BUILDKIT = re.compile(r"requires BuildKit", re.IGNORECASE)
_DENIED = ("unauthorized", "denied", "authentication required", "no basic auth", "403 forbidden", "401 unauthorized")


class DockerEngine:
    """A Docker engine.

    Args:
        docker_host: The engine's address; ``None`` for the platform's default socket, never a context of the Docker command line.
        timeout: Seconds without any output after which the engine counts as unreachable.
        docker_config: The folder of Docker's config.json, whose credentials a build may use for base images.
        environment: The source of ``DOCKER_TLS_VERIFY`` and ``DOCKER_CERT_PATH``.
    """

    def __init__(
        self,
        docker_host: str | None = None,
        *,
        timeout: float = 600.0,
        docker_config: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._host = docker_host
        self._timeout = timeout
        self._config = docker_config
        self._environment = dict(environment or {})
        self._opened: docker.APIClient | None = None

    def check(self) -> str:
        """Return the engine's version. Raises: EngineUnreachable."""
        with self._mapped_errors():
            return str(self._client().version()["Version"])

    def close(self) -> None:
        """Close the connections; the next call opens new ones."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def find_image(self, labels: Mapping[str, str]) -> str | None:
        """Return the ID (``sha256:…``) of the newest local image with these labels; ``None`` if there is none."""
        with self._mapped_errors():
            images = self._client().images(filters={"label": [f"{name}={value}" for name, value in labels.items()]})
        newest = max(images, key=lambda image: int(image.get("Created", 0)), default=None)
        return None if newest is None else str(newest["Id"])

    def build(
        self,
        context: IO[bytes],
        *,
        dockerfile: str,
        tag: str,
        target: str | None,
        args: Mapping[str, str],
        labels: Mapping[str, str],
        log: Callable[[str], None],
    ) -> str:
        """Build and tag an image, streaming the output to ``log``; return its ID. Raises: BuildFailed, EngineUnreachable."""
        output = _Output(log)
        start = partial(
            self._start_build,
            fileobj=context,
            custom_context=True,
            dockerfile=dockerfile,
            tag=tag,
            target=target,
            buildargs=dict(args),
            labels=dict(labels),
            rm=True,
            forcerm=True,
            decode=True,
            use_config_proxy=True,
        )
        # The build is one response on one connection: an exception of `log` closes it, and then the engine stops building.
        with closing(self._messages(start)) as messages:
            for message in messages:
                if failure := _error_in(message):
                    raise _build_failed(failure, output.step, output.tail)
                output.add(message)
        if output.id is None:
            raise EngineUnreachable(f"The Docker engine ended the build of {tag} without a result.", details=output.tail)
        return output.id

    def _start_build(self, **options: Any) -> Iterator[Any]:
        try:
            yield from self._client().build(**options)
        except docker.errors.APIError as error:  # also with status 500, such as for a missing Dockerfile
            raise _build_failed(_explanation(error)) from error

    def push(self, repository: str, tag: str, *, credentials: Credentials | None, log: Callable[[str], None]) -> str:
        """Push a tag; return the manifest digest that the engine reports.

        Raises:
            RegistryUnreachable: The registry does not answer, or the push was cut off.
            RegistryDenied: The registry refuses the push.
            ImageNotFound: The engine does not have the image.
        """
        digest = None

        def start() -> Any:
            auth = _auth_config(credentials, repository)
            return self._client().push(repository, tag=tag, stream=True, decode=True, auth_config=auth)

        with closing(self._messages(start)) as messages:
            for message in messages:
                if failure := _error_in(message):
                    raise _push_failed(f"{repository}:{tag}", failure)
                digest = (message.get("aux") or {}).get("Digest") or digest
                if line := _progress(message):
                    log(line)
        if digest is None:
            raise RegistryUnreachable(f"The push of {repository}:{tag} ended without a digest: it was cut off.")
        return str(digest)

    def tag(self, image: str, repository: str, tag: str) -> None:
        """Add a name to an image."""
        with self._mapped_errors():
            self._client().tag(image, repository, tag=tag, force=True)

    def _client(self) -> docker.APIClient:
        if self._opened is None:
            _check_socket(self._host or DEFAULT_HOST)
            settings = docker.utils.kwargs_from_env({**self._environment, "DOCKER_HOST": self._host or ""})
            client = docker.APIClient(
                base_url=settings.get("base_url"),
                tls=settings.get("tls", False),
                timeout=int(self._timeout),
                use_ssh_client=True,
                version="auto",
            )
            if self._config is not None:
                client.reload_config(str(Path(self._config) / "config.json"))
            self._opened = client
        return self._opened

    def _messages(self, start: Callable[[], Any]) -> Generator[dict[str, Any], None, None]:
        # Only the engine's errors are converted here, not those of the code that consumes the messages.
        with self._mapped_errors(), closing(start()) as stream:
            for message in stream:
                if isinstance(message, dict):
                    yield message

    @contextmanager
    def _mapped_errors(self) -> Iterator[None]:
        where = self._host or "the default socket"
        try:
            yield
        except docker.errors.NotFound as error:
            raise ImageNotFound(f"The Docker engine at {where} does not have it: {_explanation(error)}.") from error
        except docker.errors.APIError as error:
            raise EngineUnreachable(f"The Docker engine at {where} refuses: {_explanation(error)}") from error
        except docker.errors.InvalidConfigFile as error:
            raise SettingInvalid(f"Docker's config.json cannot be read: {error}.") from error
        except docker.errors.TLSParameterError as error:
            raise SettingInvalid(f"The Docker engine's TLS settings cannot be used: {_summary(error)}") from error
        except (*_FAILURES, docker.credentials.StoreError) as error:
            _await_stop_of_helper(error)
            if isinstance(error, docker.credentials.StoreError) or isinstance(error.__cause__, docker.credentials.StoreError):
                raise RegistryDenied(
                    f"The credentials cannot be read from Docker's config.json: {_summary(error)}.",
                    hint="Install the credential helper that it names, or remove `credsStore` and `credHelpers` from it.",
                ) from error
            raise EngineUnreachable(f"The Docker engine at {where} does not answer: {_reason(error)}.") from error


_warnings_lock = threading.Lock()
_FAILURES = (docker.errors.DockerException, docker.errors.StreamParseError, urllib3.exceptions.HTTPError, OSError)


class _Output:
    """The output of a build: logs whole lines and keeps the last ones, the step and the image's ID."""

    def __init__(self, log: Callable[[str], None]) -> None:
        self._log = log
        self._rest = ""
        self._lines: deque[str] = deque(maxlen=TAIL)
        self.step = ""
        self.id: str | None = None

    @property
    def tail(self) -> tuple[str, ...]:
        """The last lines."""
        return (*self._lines, *([self._rest] if self._rest.strip() else ()))

    def add(self, message: Mapping[str, Any]) -> None:
        """Add the next message of the stream."""
        id = (message.get("aux") or {}).get("ID", "")
        if _ID.fullmatch(id):
            self.id = id
        if line := _progress(message):
            self._add_line(line)
        text = self._rest + str(message.get("stream", ""))
        *lines, self._rest = text.split("\n")
        if len(self._rest) > 1 << 16:
            lines, self._rest = [*lines, self._rest], ""
        for line in lines:
            self._add_line(line)

    def _add_line(self, line: str) -> None:
        line = line.rstrip("\r")
        if _STEP.fullmatch(line):
            self.step = line
        if line.strip():
            self._lines.append(line)
            self._log(line)


def _check_socket(host: str) -> None:
    # docker-py leaves its socket open when the engine does not listen, and wraps the reason four times.
    if host.startswith("unix://"):
        with closing(socket.socket(socket.AF_UNIX)) as probe:
            probe.settimeout(5.0)
            probe.connect(host.removeprefix("unix://"))


def context_paths(context: Path, dockerfile: str) -> Sequence[str]:
    """Return the sorted relative paths of a build context after ``.dockerignore``, as the Docker command line sends them.

    Unlike there, ``.git`` is left out unless ``.dockerignore`` includes it with ``!.git``, since it differs from clone to clone.
    """
    paths: set[str] = docker.utils.build.exclude_paths(str(context), _ignored(context), dockerfile=dockerfile)
    return sorted(paths)


def is_ignored(context: Path, path: str) -> bool:
    """Return whether ``.dockerignore`` excludes a file: a Dockerfile is sent all the same, and the engine then leaves it out."""
    matcher = docker.utils.build.PatternMatcher(_ignored(context))
    return bool(matcher.matches(path))  # type: ignore[arg-type]  # its stub says PathLike, its code needs a str


def _ignored(context: Path) -> list[str]:
    patterns = [".git"]
    ignore = context / ".dockerignore"
    if ignore.is_file():
        lines = ignore.read_text(encoding="utf-8-sig", errors="surrogateescape").splitlines()
        patterns += [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    return patterns


def credentials_for(registry: str, docker_config: str | None) -> Credentials | None:
    """Return the credentials that ``docker login`` stored for a registry, asking its credential helpers."""
    host = registry.split("/", 1)[0]
    file = None if docker_config is None else str(Path(docker_config) / "config.json")
    try:
        with _warnings_lock, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # docker-py warns of a missing helper, and then raises
            found = docker.auth.load_config(config_path=file).resolve_authconfig(host)
    except (docker.errors.DockerException, OSError, ValueError) as error:
        _await_stop_of_helper(error)
        raise RegistryDenied(f"The credentials for {host} cannot be read from Docker's config.json: {_summary(error)}") from error
    entry = {str(name).lower(): value for name, value in (found or {}).items()}
    if entry.get("identitytoken"):
        return Credentials(TOKEN_USER, str(entry["identitytoken"]))
    if entry.get("username"):
        return Credentials(str(entry["username"]), str(entry.get("password") or ""))
    return None


def _await_stop_of_helper(error: BaseException) -> None:
    """Wait so that an abort which stopped a credential helper first can stop this process too."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, subprocess.CalledProcessError) and is_stop(cause.returncode):
            await_stop()
        cause = cause.__cause__


def _auth_config(credentials: Credentials | None, repository: str) -> dict[str, str]:
    if credentials is None:
        return {}
    server = repository.split("/", 1)[0]
    if credentials.username == TOKEN_USER:
        return {"identitytoken": credentials.secret, "serveraddress": server}
    return {"username": credentials.username, "password": credentials.secret, "serveraddress": server}


def _error_in(message: Mapping[str, Any]) -> str | None:
    detail = message.get("errorDetail") or {}
    text = detail.get("message") or message.get("error")
    return None if text is None else str(text).strip()


def _progress(message: Mapping[str, Any]) -> str | None:
    # A layer's change of state is a line; its percentages, many per second, are left out.
    status = message.get("status")
    if not status or message.get("progressDetail"):
        return None
    return f"{message['id']}: {status}" if message.get("id") else str(status)


def _build_failed(failure: str, step: str = "", tail: Sequence[str] = ()) -> BuildFailed:
    step = f" in {step}" if step else ""
    if _BUILDKIT.search(failure):
        return BuildFailed(
            f"The Dockerfile needs BuildKit{step}, which the engine's API does not offer: {failure}",
            hint="Write it without RUN --mount and COPY --chmod, or build it elsewhere and pass it with --image IMAGE@DIGEST.",
            details=tail,
        )
    return BuildFailed(f"The build failed{step}: {failure}", details=tail)


def _push_failed(image: str, failure: str) -> KubernautError:
    if "does not exist locally" in failure:
        return ImageNotFound(f"The engine has no image {image} to push.")
    if any(sign in failure.lower() for sign in _DENIED):
        return RegistryDenied(f"The registry refuses the push of {image}: {failure}")
    return RegistryUnreachable(f"The push of {image} failed: {failure}")


def _explanation(error: docker.errors.APIError) -> str:
    return str(error.explanation or error).strip()


def _reason(error: BaseException) -> str:
    """Return the system's own message below the layers of libraries."""
    layer: BaseException | None = error
    while layer is not None:
        if isinstance(layer, OSError) and layer.strerror:
            return layer.strerror
        layer = layer.__cause__ or layer.__context__
    return _summary(error).rstrip(".")


def _summary(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
