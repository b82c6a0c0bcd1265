from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest
from pydantic import ValidationError
from support.messages import facts

from kubernaut.errors import PortTaken, SettingInvalid
from kubernaut_local.models import PortOptions, Ports
from kubernaut_local.ports import DEFAULT_PORTS, candidates, check_free, choose, is_free, listening_inodes


def test_default_has_fixed_ports() -> None:
    assert choose("default", None, PortOptions(), lambda port: False) == DEFAULT_PORTS


def test_other_platform_gets_free_ports() -> None:
    first = choose("blue", None, PortOptions(), lambda port: True)
    taken = set(first.all())
    assert choose("blue", None, PortOptions(), lambda port: port not in taken) == Ports(
        api=first.api + 1, registry=first.registry + 1, node_ports=(first.node_ports[0] + 1,)
    )


def test_candidates_depend_on_the_name() -> None:
    assert len({choose(name, None, PortOptions(), lambda port: True).api for name in ("blue", "green", "test-1", "test-2")}) == 4


def test_candidates_cover_the_range() -> None:
    tried = candidates("blue", 1000)
    assert (len(tried), min(tried), max(tried), len(set(tried))) == (900, 1000, 1899, 900)


def test_recorded_ports_are_kept_even_when_something_listens_on_them() -> None:
    recorded = Ports(api=1, registry=2, node_ports=(30000,))
    assert choose("blue", recorded, PortOptions(), lambda port: False) == recorded


def test_requested_ports_win() -> None:
    recorded = Ports(api=1, registry=2, node_ports=(30000,))
    options = PortOptions(api=5, node_ports=(30001, 30002))
    assert choose("blue", recorded, options, lambda port: False) == Ports(api=5, registry=2, node_ports=(30001, 30002))


def test_requested_port_is_not_chosen_twice() -> None:
    registry = choose("blue", None, PortOptions(), lambda port: True).registry
    assert choose("blue", None, PortOptions(api=registry), lambda port: True).registry == registry + 1


@pytest.mark.parametrize(
    ("options", "pattern"),
    [
        (PortOptions(api=5000, registry=5000), facts("5000", "registry", "API")),
        (PortOptions(node_ports=(30001, 30001)), facts("30001")),
        (PortOptions(registry=10250), facts("10250", "registry")),
    ],
)
def test_conflicting_ports_are_refused(options: PortOptions, pattern: str) -> None:
    with pytest.raises(SettingInvalid, match=pattern):
        choose("default", None, options, lambda port: True)


def test_no_free_port_is_an_error() -> None:
    with pytest.raises(PortTaken):
        choose("blue", None, PortOptions(), lambda port: False)


@pytest.mark.parametrize("wrong", [{"api": 0}, {"registry": 65536}, {"node_ports": (80,)}])
def test_ports_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        PortOptions(**wrong)  # type: ignore[arg-type]


@pytest.fixture
def listener() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_taken_port_is_named_with_its_process(listener: int) -> None:
    assert not is_free(listener)
    with pytest.raises(PortTaken) as caught:
        check_free(Ports(api=listener))
    assert str(listener) in caught.value.message
    assert str(os.getpid()) in caught.value.message
    assert "--port-api" in caught.value.hint


def test_listening_sockets_are_parsed() -> None:
    table = (
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
        "   0: 0100007F:3A98 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0\n"
        "   1: 0100007F:3A98 0100007F:D431 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0\n"
        "   2: 0100007F:3A99 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4713 1 0\n"
    )
    assert listening_inodes(table, 15000) == ["4711"]
    assert listening_inodes("", 15000) == []
