"""The contract of the engine, for the fake in this process and for the real one."""

from __future__ import annotations

import io
import tarfile
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from support.messages import facts

from kubernaut.adapters.docker import DockerEngine
from kubernaut.adapters.registry import RegistryClient
from kubernaut.errors import BuildFailed, EngineUnreachable, ImageNotFound, RegistryUnreachable
from kubernaut.testing.engine import FakeEngine
from kubernaut.testing.registry import FakeRegistry

DOCKERFILE = "FROM scratch\nCOPY file /file\n"


def context(dockerfile: str = DOCKERFILE, **files: str) -> io.BytesIO:
    """A build context with a Dockerfile and a file."""
    out = io.BytesIO()
    with tarfile.open(mode="w", fileobj=out) as tar:
        for name, text in {"Dockerfile": dockerfile, "file": "hello", **files}.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
    out.seek(0)
    return out


class EngineContract:
    """The contract; a subclass provides ``engine`` and a ``repository`` that it reaches."""

    @pytest.fixture
    def engine(self) -> DockerEngine:
        raise NotImplementedError

    @pytest.fixture
    def repository(self) -> str:
        raise NotImplementedError

    @pytest.fixture
    def base(self) -> str:
        """An image with a shell."""
        raise NotImplementedError

    def build(
        self, engine: DockerEngine, tag: str, dockerfile: str = DOCKERFILE, lines: list[str] | None = None, **labels: str
    ) -> str:
        log = (lambda line: None) if lines is None else lines.append
        return engine.build(
            context(dockerfile), dockerfile="Dockerfile", tag=tag, target=None, args={"A": "b"}, labels=labels, log=log
        )

    def test_engine_reports_its_version(self, engine: DockerEngine) -> None:
        assert engine.check()[0].isdigit()

    def test_build_reports_lines(self, engine: DockerEngine, repository: str) -> None:
        lines: list[str] = []
        image = self.build(engine, f"{repository}:1.0.0", lines=lines, one=uuid.uuid4().hex)
        assert image.startswith("sha256:")
        assert len(image) == 71
        assert any(line.startswith("Step 1/") and "FROM scratch" in line for line in lines)
        assert not any("\n" in line for line in lines)

    def test_image_is_found_by_all_its_labels(self, engine: DockerEngine, repository: str) -> None:
        key = uuid.uuid4().hex
        image = self.build(engine, f"{repository}:1.0.0", **{"kubernaut/key": key, "two": "2"})
        assert engine.find_image({"kubernaut/key": key}) == image
        assert engine.find_image({"kubernaut/key": key, "two": "2"}) == image
        assert engine.find_image({"kubernaut/key": key, "two": "3"}) is None

    def test_image_is_found_by_labels_of_the_dockerfile(self, engine: DockerEngine, repository: str) -> None:
        key = uuid.uuid4().hex
        image = self.build(engine, f"{repository}:1.0.0", f'{DOCKERFILE}LABEL "kubernaut/key"="{key}" "b"="c d"\n')
        assert engine.find_image({"kubernaut/key": key, "b": "c d"}) == image

    def test_same_build_is_the_same_image(self, engine: DockerEngine, repository: str) -> None:
        key = uuid.uuid4().hex
        assert self.build(engine, f"{repository}:1.0.0", key=key) == self.build(engine, f"{repository}:1.0.0", key=key)

    def test_push_returns_the_registrys_digest(self, engine: DockerEngine, repository: str) -> None:
        image = self.build(engine, f"{repository}:1.0.0", key=uuid.uuid4().hex)
        engine.tag(image, repository, "1.0.1")
        digest = engine.push(repository, "1.0.1", credentials=None, log=lambda _: None)
        assert RegistryClient(plain_http=lambda _: True).manifest_digest(repository, "1.0.1") == digest
        assert engine.push(repository, "1.0.0", credentials=None, log=lambda _: None) == digest

    def test_missing_image_is_not_found(self, engine: DockerEngine, repository: str) -> None:
        with pytest.raises(ImageNotFound):
            engine.push(repository, "9.9.9", credentials=None, log=lambda _: None)
        with pytest.raises(ImageNotFound):
            engine.tag("sha256:" + "0" * 64, repository, "9.9.9")

    def test_missing_registry_is_unreachable(self, engine: DockerEngine) -> None:
        self.build(engine, "localhost:9/missing:1.0.0")
        with pytest.raises(RegistryUnreachable):
            engine.push("localhost:9/missing", "1.0.0", credentials=None, log=lambda _: None)

    def test_failed_step_is_named_with_its_last_lines(self, engine: DockerEngine, repository: str, base: str) -> None:
        dockerfile = f"FROM {base}\nRUN echo the library is missing; exit 7\n"
        with pytest.raises(BuildFailed, match=r"Step 2/2 : RUN echo the library is missing; exit 7.*code: 7") as caught:
            self.build(engine, f"{repository}:1.0.0", dockerfile)
        assert "the library is missing" in caught.value.details
        assert len(caught.value.details) <= 20

    @pytest.mark.parametrize(
        ("dockerfile", "message"),
        [
            ("FROM scratch\nRUNN x\n", "unknown instruction: RUNN"),
            ("# nothing\n", "(?i)dockerfile.*empty|no instructions|file with no"),
        ],
    )
    def test_invalid_dockerfile_fails_the_build(self, engine: DockerEngine, repository: str, dockerfile: str, message: str) -> None:
        with pytest.raises(BuildFailed, match=message):
            self.build(engine, f"{repository}:1.0.0", dockerfile)

    def test_missing_dockerfile_fails_the_build(self, engine: DockerEngine, repository: str) -> None:
        with pytest.raises(BuildFailed, match="Cannot locate specified Dockerfile: other"):
            engine.build(
                context(), dockerfile="other", tag=f"{repository}:1.0.0", target=None, args={}, labels={}, log=lambda _: None
            )

    def test_listener_error_ends_the_build(self, engine: DockerEngine, repository: str) -> None:
        class Enough(Exception):
            pass

        def log(line: str) -> None:
            raise Enough

        with pytest.raises(Enough):
            engine.build(context(), dockerfile="Dockerfile", tag=f"{repository}:2.0.0", target=None, args={}, labels={}, log=log)
        assert engine.check()


class TestFakeEngine(EngineContract):
    @pytest.fixture
    def engine(self) -> DockerEngine:
        return FakeEngine()

    @pytest.fixture
    def repository(self) -> Iterator[str]:
        with FakeRegistry() as registry:
            yield f"{registry.address}/team/shop"

    @pytest.fixture
    def base(self) -> str:
        return "node:22-slim"

    def test_stopped_engine_is_unreachable(self) -> None:
        engine = FakeEngine()
        engine.running = False
        with pytest.raises(EngineUnreachable):
            engine.check()


@pytest.mark.platform
class TestRealEngine(EngineContract):
    @pytest.fixture
    def engine(self, platform: Mapping[str, str]) -> DockerEngine:
        return DockerEngine(platform["DOCKER_HOST"])

    @pytest.fixture
    def repository(self, platform: Mapping[str, str]) -> str:
        return f"{platform['KUBERNAUT_REGISTRY']}/{uuid.uuid4().hex[:8]}/shop"

    @pytest.fixture
    def base(self) -> str:
        return "node:22-slim"

    def test_mount_needs_buildkit(self, engine: DockerEngine, repository: str, base: str) -> None:
        with pytest.raises(BuildFailed, match="BuildKit") as caught:
            self.build(engine, f"{repository}:1.0.0", f"FROM {base}\nRUN --mount=type=cache,target=/x true\n")
        assert "--image" in caught.value.hint

    def test_missing_socket_is_unreachable(self, tmp_path: Path) -> None:
        with pytest.raises(EngineUnreachable, match=facts("no.sock", "No such file or directory")):
            DockerEngine(f"unix://{tmp_path}/no.sock").check()
