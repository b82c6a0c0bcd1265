"""The composition of a server: refused options, its parts, and its run from start to stop."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from support.in_process_server import connect
from support.waiting import until

from kubernaut import Kubernaut, load_settings
from kubernaut.errors import (
    ChartRefused,
    DeployKept,
    HostRefused,
    Interrupted,
    KubernautError,
    NameInvalid,
    PortTaken,
    ServerStopping,
    SettingInvalid,
    Unauthorized,
)
from kubernaut.history.operations import Operation, new_operation_id, now
from kubernaut.interface import Deployed
from kubernaut.models import Plan
from kubernaut.server.audit import Audit
from kubernaut.server.metrics import Metrics
from kubernaut.server.operations.workers import RunningOperation
from kubernaut.server.routing import ServerContext
from kubernaut.server.serving import ServeOptions, create_context, record_result, run
from kubernaut.testing.cluster import FakeCluster
from kubernaut.testing.helm import FakeHelm

CHART = "oci://registry.example.com/charts/hello-world:1.0.0"
EVERYWHERE = "0.0.0.0"  # noqa: S104 - what is tested is that it is refused
Make = Callable[..., Kubernaut]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Make a library over a cluster in memory, with settings."""

    def make(**settings: Any) -> Kubernaut:
        environment = {"XDG_STATE_HOME": str(tmp_path / "state"), "HOME": str(tmp_path), "CI_TOKEN": "kanarie-in-the-environment"}
        kubernaut = Kubernaut(load_settings(settings, environment=environment, directory=tmp_path))
        cluster = FakeCluster("demo")
        connect(kubernaut, cluster, FakeHelm(cluster))
        return kubernaut

    return make


def operation(verb: str = "deploy") -> Operation:
    return Operation(id=new_operation_id(), verb=verb, namespace="demo", name="hello", actor="ci", started_at=now())


class TestRefusals:
    @pytest.mark.parametrize("host", [EVERYWHERE, "10.1.2.3", "::", "kubernaut.example.com"])
    def test_a_public_address_needs_a_tls_proxy(self, make: Make, host: str) -> None:
        with pytest.raises(SettingInvalid) as refused:
            create_context(make(serve_host=host), ServeOptions())
        assert "--behind-tls-proxy" in refused.value.hint
        assert host in refused.value.message

    def test_a_public_address_needs_a_host_name(self, make: Make) -> None:
        with pytest.raises(SettingInvalid) as refused:
            create_context(make(serve_host=EVERYWHERE), ServeOptions(behind_tls_proxy=True))
        assert "--allow-host" in refused.value.hint

    def test_a_public_address_needs_tokens(self, make: Make) -> None:
        options = ServeOptions(auth="none", behind_tls_proxy=True, allow_hosts=("kubernaut.example.com",))
        with pytest.raises(SettingInvalid, match="--auth none"):
            create_context(make(serve_host=EVERYWHERE), options)

    def test_an_invalid_namespace_is_refused(self, make: Make) -> None:
        with pytest.raises(NameInvalid):
            create_context(make(), ServeOptions(namespaces=("--all",)))

    def test_a_refused_server_creates_no_files(self, make: Make, tmp_path: Path) -> None:
        for options in (ServeOptions(allow_hosts=("a b",)), ServeOptions(allow_charts=("a b",)), ServeOptions(namespaces=("A",))):
            with pytest.raises((SettingInvalid, NameInvalid)):
                create_context(make(registry="registry.example.com"), options)
        assert list(tmp_path.iterdir()) == []


class TestContext:
    def test_a_token_is_generated_in_the_state_folder(self, make: Make, tmp_path: Path) -> None:
        context = create_context(make(), ServeOptions())
        header = (tmp_path / "state" / "kubernaut" / "token").read_text().strip()
        assert context.authenticator.authenticate({"authorization": header.removeprefix("Authorization: ")}).name == "admin"
        with pytest.raises(Unauthorized):
            context.authenticator.authenticate({})

    def test_named_tokens_replace_the_generated_one(self, make: Make, tmp_path: Path) -> None:
        path = tmp_path / "tokens.toml"
        path.write_text(f'[tokens.ci]\ntoken = "{"c" * 40}"\nrole = "read"\n')
        path.chmod(0o600)
        context = create_context(make(), ServeOptions(tokens=path))
        assert context.authenticator.authenticate({"authorization": f"Bearer {'c' * 40}"}).name == "ci"
        assert not (tmp_path / "state").exists()

    def test_auth_none_accepts_anonymous_callers(self, make: Make, tmp_path: Path) -> None:
        assert create_context(make(), ServeOptions(auth="none")).authenticator.authenticate({}).name == "anonymous"
        assert not (tmp_path / "state").exists()

    def test_charts_may_come_from_the_chart_registry_and_allowed_prefixes(self, make: Make) -> None:
        kubernaut = make(registry="registry.example.com")
        context = create_context(kubernaut, ServeOptions(auth="none", allow_charts=("other.example.com/team",)))
        for ref in (CHART, "oci://other.example.com/team/hello-world:1.0.0"):
            assert context.chart_policy.check(ref) == ref
        with pytest.raises(ChartRefused):
            context.chart_policy.check("oci://registry.example.com/hello-world:1.0.0")

    def test_without_a_registry_charts_are_refused(self, make: Make) -> None:
        with pytest.raises(ChartRefused):
            create_context(make(), ServeOptions(auth="none")).chart_policy.check(CHART)

    def test_own_and_allowed_host_names_are_accepted(self, make: Make) -> None:
        authenticator = create_context(
            make(serve_port=9000), ServeOptions(auth="none", allow_hosts=("ci.example.com",))
        ).authenticator
        for host in ("127.0.0.1:9000", "localhost:9000", "ci.example.com"):
            authenticator.check_host(host)
        with pytest.raises(HostRefused):
            authenticator.check_host("evil.example.com:9000")

    def test_audit_lines_are_written_to_the_file_without_secrets(self, make: Make, tmp_path: Path) -> None:
        path = tmp_path / "audit.log"
        create_context(make(), ServeOptions(auth="none", audit_log=path)).audit.write(
            event="request", path="/kanarie-in-the-environment"
        )
        assert json.loads(path.read_text())["path"] == "/***"

    def test_the_gauges_are_set(self, make: Make) -> None:
        page = create_context(make(), ServeOptions(auth="none")).metrics.render()
        assert b"kubernaut_operations_running 0.0" in page
        assert b"kubernaut_index_age_seconds NaN" not in page

    def test_the_namespaces_are_kept(self, make: Make) -> None:
        assert create_context(make(), ServeOptions(auth="none", namespaces=("demo",))).namespaces == ("demo",)


class TestRecordResult:
    @pytest.mark.parametrize(
        ("result", "outcome"),
        [
            (Deployed(Plan(), True, None), "succeeded"),
            (Deployed(Plan(), False, None), "unchanged"),
            (DeployKept("it crashed, password=hunter22"), "deploy_failed"),
            (Interrupted("stopped"), "interrupted"),
        ],
    )
    def test_an_outcome_is_counted_and_audited(self, result: Deployed | KubernautError, outcome: str) -> None:
        lines: list[bytes] = []
        metrics = Metrics()
        running = RunningOperation(operation())
        running.set_result(result)
        record_result(running, Audit(lines.append), metrics)
        line = json.loads(lines[0])
        assert (line["event"], line["caller"], line["verb"], line["release"], line["operation"], line["outcome"]) == (
            "operation",
            "ci",
            "deploy",
            "demo.hello",
            running.operation.id,
            outcome,
        )
        assert f'kubernaut_operations_total{{outcome="{outcome}",verb="deploy"}} 1.0'.encode() in metrics.render()
        assert b"hunter22" not in lines[0]

    def test_the_audit_line_names_a_failed_release(self) -> None:
        lines: list[bytes] = []
        running, failure = RunningOperation(operation()), DeployKept("it crashed")
        failure.release = "demo.hello.v3"
        running.set_result(failure)
        record_result(running, Audit(lines.append), Metrics())
        assert json.loads(lines[0])["release"] == "demo.hello.v3"


class Job:
    """An operation that goes on until it may end, or is stopped."""

    def __init__(self) -> None:
        self.may_end = threading.Event()

    def __call__(self, _listener: object, stopped: Callable[[], bool]) -> Deployed:
        while not self.may_end.wait(0.01):
            if stopped():
                raise Interrupted("stopped")
        return Deployed(Plan(), True, None)


class Server:
    """A server that runs in a thread of this process."""

    def __init__(self, kubernaut: Kubernaut, **options: Any) -> None:
        self.options = ServeOptions(**{"auth": "none", **options})
        self.context: ServerContext = create_context(kubernaut, self.options)
        self.address = ""
        self.stop = threading.Event()
        self.hurry = False
        self.failed: BaseException | None = None
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            run(self.context, self.options, self._until)
        except BaseException as error:  # noqa: BLE001 - checked by the test
            self.failed = error

    def _until(self, address: str) -> None:
        self.address = address
        self.stop.wait()
        if self.hurry:
            raise KeyboardInterrupt

    def status(self, path: str) -> int:
        return requests.get(self.address + path, timeout=10).status_code


@contextmanager
def served(kubernaut: Kubernaut, **options: Any) -> Iterator[Server]:
    server = Server(kubernaut, **options)
    server.thread.start()
    try:
        until(lambda: server.address or server.failed, "it listens")
        yield server
    finally:
        server.stop.set()
        server.thread.join(20)
    assert not server.thread.is_alive()


class TestRun:
    def test_server_runs_and_leaves_no_thread(self, make: Make) -> None:
        before = set(threading.enumerate())
        with served(make(serve_port=0)) as server:
            assert server.status("/healthz") == 200
            until(lambda: server.status("/readyz") == 200, "it is ready")
            assert server.status("/api/releases") == 200
            assert requests.get(f"{server.address}/healthz", headers={"Host": "evil.example.com"}, timeout=10).status_code == 421
        assert server.failed is None
        until(lambda: set(threading.enumerate()) <= before, "no thread is left")
        with pytest.raises(requests.ConnectionError):
            server.status("/healthz")

    def test_running_operations_finish_and_reads_are_answered_meanwhile(self, make: Make) -> None:
        with served(make(serve_port=0), grace=30.0) as server:
            job = Job()
            running = server.context.workers.start(operation(), job)
            until(lambda: server.status("/readyz") == 200, "it is ready")
            server.stop.set()
            until(lambda: server.context.workers.stopping, "it begins to stop")
            with pytest.raises(ServerStopping):
                server.context.workers.start(operation(), Job())
            assert server.status("/api/releases") == 200
            assert server.status("/readyz") == 503
            job.may_end.set()
            server.thread.join(20)
            assert running.result == Deployed(Plan(), True, None)
        assert server.failed is None

    def test_operations_are_stopped_after_the_grace(self, make: Make) -> None:
        with served(make(serve_port=0), grace=0.1) as server:
            running = server.context.workers.start(operation(), Job())
        assert isinstance(running.result, Interrupted)
        assert server.failed is None

    def test_a_keyboard_interrupt_stops_running_operations(self, make: Make) -> None:
        with served(make(serve_port=0), grace=600.0) as server:
            running = server.context.workers.start(operation(), Job())
            server.hurry = True
        assert isinstance(running.result, Interrupted)
        assert isinstance(server.failed, KeyboardInterrupt)

    def test_a_taken_port_is_reported_and_leaves_no_thread(self, make: Make) -> None:
        before = set(threading.enumerate())
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            with served(make(serve_port=port)) as server:
                pass
        assert isinstance(server.failed, PortTaken)
        assert str(port) in server.failed.message
        until(lambda: set(threading.enumerate()) <= before, "no thread is left")
