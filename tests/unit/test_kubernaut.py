"""class Kubernaut: what is refused before anything is done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.workshop import make_workshop

from kubernaut import Kubernaut, KubernautError, load_settings
from kubernaut.errors import EnvironmentNotFound, NameInvalid, ValuesInvalid


class Idle(Kubernaut):
    """Publishes nothing, and fails the test that lets it try."""

    def publish(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("published")


@pytest.fixture
def idle(tmp_path: Path) -> Idle:
    settings = load_settings({"registry": "127.0.0.1:1/x"}, environment={"PATH": "/nowhere"}, directory=tmp_path)
    return Idle(settings)


def test_an_option_that_nobody_knows_is_refused(idle: Idle) -> None:
    for call in (
        lambda: idle.ship("app", namespace="demo", dryrun=True),  # type: ignore[call-arg]
        lambda: idle.deploy("app", namespace="demo", dryrun=True),  # type: ignore[call-arg]
    ):
        with pytest.raises(TypeError, match="unexpected keyword argument 'dryrun'; DeployOptions has note, timeout"):
            call()


@pytest.mark.parametrize(
    ("options", "expected", "words"),
    [
        ({"namespace": "Demo"}, NameInvalid, "'Demo'"),
        ({"set": ["a[x]=1"]}, ValuesInvalid, "--set a[x]"),
        ({"values": ["nowhere.yaml"]}, ValuesInvalid, "nowhere.yaml cannot be read"),
        ({"environment": "staging"}, EnvironmentNotFound, "without values for 'staging'; it has: production"),
    ],
)
def test_what_cannot_be_deployed_is_not_published(
    idle: Idle, tmp_path: Path, options: dict[str, Any], expected: type[KubernautError], words: str
) -> None:
    shop = make_workshop(tmp_path / "tree")
    with pytest.raises(expected) as caught:
        idle.ship(shop.app, **{"namespace": "demo", **options})
    assert words in caught.value.message
