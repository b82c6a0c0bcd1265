"""A job that is run, on a stand-in for a Jenkins."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import responses
from support.running import CANARY, Runs
from support.stand_in import StandIn, Time, behind_responses


@pytest.fixture
def run() -> Iterator[Runs]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as http:
        time = Time()
        stand_in = StandIn(time.now)
        behind_responses(stand_in, http)
        runs = Runs(time, stand_in)
        yield runs
        assert CANARY not in str(runs.heard)
        runs.server.close()


@pytest.fixture(params=["jenkins", "hudson"])
def either(run: Runs, request: pytest.FixtureRequest) -> Runs:
    """On Jenkins, and on Hudson, which tells no queue ids."""
    run.stand_in.hudson = request.param == "hudson"
    return run
