"""A Jenkins in memory, as `kubernaut.jenkins.setup` sees it: jobs' configurations and nothing else; and the settings of jobs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kubernaut.errors import JobConflict, JobNotFound
from kubernaut.jenkins.jobs import JobPath, JobSettings, ServerKind
from kubernaut.jenkins.responses import Job

URL = "https://ci.example.com"


class FakeJobServer:
    """Stores the configurations, and records the writes.

    Attributes:
        keeps: Returns the config.xml as the server stores it.
        failing: Raises the error of a write that is to fail.
    """

    def __init__(self, kind: ServerKind = "hudson", *, folders: tuple[str, ...] = ()) -> None:
        self.url = URL
        self.configs: dict[str, str] = {}
        self.sent: list[tuple[str, str]] = []
        self.keeps: Callable[[str], str] = str
        self.failing: Callable[[JobPath], None] = lambda _: None
        self._kind = kind
        self._folders = folders

    def kind(self) -> ServerKind:
        return self._kind

    def config(self, path: JobPath) -> str | None:
        return self.configs.get(str(path))

    def create(self, path: JobPath, config: str) -> None:
        if str(path) in self.configs:
            raise JobConflict(f"There is a job {path}.")
        self._take("create", path, config)

    def reconfigure(self, path: JobPath, config: str) -> None:
        if str(path) not in self.configs:
            raise JobNotFound(f"Job {path} does not exist.")
        self._take("reconfigure", path, config)

    def job(self, path: JobPath) -> Job:
        if str(path) not in self._folders:
            raise JobNotFound(f"Job {path} does not exist.")
        return Job(path, f"{URL}/{path.url_path}/", (), False)

    def close(self) -> None:
        pass

    def _take(self, how: str, path: JobPath, config: str) -> None:
        self.failing(path)
        self.sent.append((how, str(path)))
        self.configs[str(path)] = self.keeps(config)


def job_settings(**facts: Any) -> JobSettings:
    """Return the job settings of hello-world, with changes."""
    usual = {
        "application": "hello-world",
        "repository": "https://git.example.com/hello-world.git",
        "branch": "main",
        "directory": "examples/hello-world",
        "namespace": "demo",
    }
    return JobSettings(**{**usual, **facts})
