"""A job that is run, on a stand-in for a Jenkins."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import responses
from support.fake_jenkins import FakeClock, FakeJenkins, behind_responses
from support.job_runner import CANARY, JobRunner


@pytest.fixture
def run() -> Iterator[JobRunner]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as http:
        time = FakeClock()
        jenkins = FakeJenkins(time.now)
        behind_responses(jenkins, http)
        runs = JobRunner(time, jenkins)
        yield runs
        assert CANARY not in str(runs.events)
        runs.server.close()


@pytest.fixture(params=["jenkins", "hudson"])
def runner(run: JobRunner, request: pytest.FixtureRequest) -> JobRunner:
    """On Jenkins, and on Hudson, which has no queue IDs in its builds."""
    run.jenkins.hudson = request.param == "hudson"
    return run
