"""Slow but healthy rollouts: none is given up, and each ends ready."""

from __future__ import annotations

import pytest
from support.kube_objects import (
    Json,
    changed,
    claim,
    condition,
    container,
    crashed,
    deployment,
    ended,
    endpoint_slice,
    event,
    job,
    job_pod,
    manifest,
    ordinal_pod,
    owned_pod,
    pod,
    replica_set,
    running,
    service,
    stateful_set,
    terminated,
    unschedulable,
    waiting,
)
from support.rollouts import Rollout

PULL = 'failed to pull and unpack image "web": not found'


def assert_healthy(rollout: Rollout) -> None:
    """Check that a rollout progressed until it was ready."""
    assert "failed" not in rollout.words
    assert "ready" not in rollout.words[:-1]
    assert rollout.words[-1] == "ready"


class Web:
    """A Deployment of one pod, whose container changes its status."""

    def __init__(self, *containers: Json, **spec: object) -> None:
        self.live = deployment("web", 1, *containers, **spec)
        self.newest = replica_set(self.live)
        self.rollout = Rollout(self.live)

    def see(self, seconds: float, *statuses: Json, events: tuple[Json, ...] = (), blind: bool = False, **fields: object) -> None:
        item = owned_pod(self.newest, "a", *statuses, **fields)
        self.see_pod(seconds, item, *events, blind=blind)

    def see_pod(self, seconds: float, *objects: Json, blind: bool = False) -> None:
        unreadable = {"Event": "no right"} if blind else {}
        self.rollout.see(seconds, self.live, self.newest, *objects, unreadable=unreadable)


def test_container_that_crashes_twice() -> None:
    web = Web()
    web.see(2, terminated(ended(1)))
    web.see(3, running(3, ready=False, restarts=1))
    web.see(4, crashed(1, start=3, end=4))
    web.see(15, running(15, ready=False, restarts=2, last=ended(1)))
    web.see(16, running(15, restarts=2, last=ended(1)))
    web.see(24.9, running(15, restarts=2, last=ended(1)))
    web.see(25, running(15, restarts=2, last=ended(1)))
    assert_healthy(web.rollout)


@pytest.mark.parametrize("blind", [False, True])
def test_image_that_appears_after_ten_seconds(blind: bool) -> None:
    web = Web()
    item = owned_pod(web.newest, "a")
    failed = (event(item, "Failed", f'Failed to pull image "web": {PULL}', at=1, container="web"),)
    web.see(1, waiting("ErrImagePull", PULL), events=failed, blind=blind)
    for seconds in (2, 5, 8, 13):
        web.see(seconds, waiting("ImagePullBackOff", f"Back-off pulling image: {PULL}"), events=failed, blind=blind)
    web.see(14, waiting("ContainerCreating"), events=failed, blind=blind)
    web.see(15, running(15), events=failed, blind=blind)
    assert_healthy(web.rollout)


def test_container_that_is_ready_after_forty_seconds() -> None:
    web = Web()
    item = owned_pod(web.newest, "a")
    for seconds in range(1, 40):
        unhealthy = event(
            item, "Unhealthy", "Readiness probe failed: connection refused", at=seconds, count=seconds, container="web"
        )
        web.see(seconds, running(1, ready=False), events=(unhealthy,))
    web.see(40, running(1))
    assert_healthy(web.rollout)


def test_node_that_is_free_after_twenty_seconds() -> None:
    web = Web()
    for seconds in (1, 10, 20):
        web.see_pod(seconds, unschedulable("web-7f1-a", owner=web.newest))
    web.see(21, waiting("ContainerCreating"))
    web.see(24, running(24))
    assert_healthy(web.rollout)


def test_claim_that_is_bound_after_two_minutes() -> None:
    web, data = deployment(), claim("data", "Pending")
    newest, rollout = replica_set(web), Rollout(web, data)
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
    provisioning = event(data, "ExternalProvisioning", "Waiting for a volume to be created")
    waits = unschedulable("web-7f1-a", "pod has unbound immediate PersistentVolumeClaims", owner=newest, volumes=volumes)
    for seconds in (1, 60, 119):
        rollout.see(seconds, web, newest, data, waits, provisioning)
    bound = claim("data")
    attach = event(waits, "FailedAttachVolume", "Multi-Attach error", at=120)
    rollout.see(130, web, newest, bound, owned_pod(newest, "a", waiting("ContainerCreating")), attach)
    rollout.see(150, web, newest, bound, owned_pod(newest, "a"))
    assert_healthy(rollout)


def test_quota_that_is_freed_after_twenty_seconds() -> None:
    web = Web()
    for seconds in (1, 10, 20, 41):
        web.see_pod(seconds, event(web.newest, "FailedCreate", "forbidden: exceeded quota: small", at=seconds, first=1, count=9))
    created = event(web.newest, "SuccessfulCreate", "Created pod", at=42)
    web.see_pod(42, created, owned_pod(web.newest, "a", waiting("ContainerCreating")))
    web.see_pod(44, created, owned_pod(web.newest, "a"))
    assert_healthy(web.rollout)


def test_long_hook_runs_beside_crashing_old_pods() -> None:
    old = deployment("web", 1, container(image="old"))
    new = deployment("web", 1, revision=2, generation=2)
    migrate = {**manifest(job()), "metadata": {"name": "migrate", "annotations": {"helm.sh/hook": "pre-upgrade"}}}
    first, second = replica_set(old, 1), replica_set(new, 2)
    rollout = Rollout(new, hooks=[migrate], before=[old, first, owned_pod(first, "a", crashed(1))])
    for seconds in (1, 60, 240):
        pods = [owned_pod(first, "a", crashed(1 + seconds)), job_pod(job(), "x", running())]
        rollout.see(seconds, old, first, *pods, job(active=1, created=1), helm_done=False)
    complete = job(succeeded=1, created=1, conditions=[condition("Complete")])
    rollout.see(241, old, first, owned_pod(first, "a", crashed(99)), complete, helm_done=False)
    unseen = changed(new, status={"observedGeneration": 1})
    rollout.see(242, unseen, first, owned_pod(first, "a", crashed(99)), helm_done=False)
    rollout.see(243, new, first, second, owned_pod(first, "a", crashed(99)), owned_pod(second, "b", running(243, ready=False)))
    rollout.see(250, new, first, second, owned_pod(first, "a", crashed(99)), owned_pod(second, "b", running(243)))
    assert_healthy(rollout)


def test_autoscaler_changes_the_replicas() -> None:
    old = deployment("web", 2, container(image="old"))
    rollout = Rollout(changed(deployment("web", 2), metadata={}))
    first = replica_set(old, 1)
    scaled = changed(old, spec={"replicas": 3}, metadata={"generation": 2}, status={"observedGeneration": 2})
    rollout = Rollout(deployment("web", 2), before=[old, first])
    rollout.see(1, scaled, first, owned_pod(first, "a", waiting("InvalidImageName")), helm_done=False)
    new = deployment("web", 2, revision=2, generation=3)
    second = replica_set(new, 2)
    rollout.see(2, new, first, second, owned_pod(second, "a"), owned_pod(second, "b", running(ready=False)))
    wider = deployment("web", 4, revision=2, generation=4)
    pods = [owned_pod(second, name) for name in "abcd"]
    rollout.see(10, wider, first, second, *pods[:3], owned_pod(second, "d", waiting("ContainerCreating")))
    rollout.see(20, wider, first, second, *pods)
    assert_healthy(rollout)


def test_rolling_update_that_replaces_pods_one_by_one() -> None:
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
    old, new = deployment("web", 3, container(image="old")), deployment("web", 3, revision=2, generation=2, strategy=strategy)
    first, second = replica_set(old, 1), replica_set(new, 2)
    rollout = Rollout(new, before=[old, first])
    for done in range(3):
        pods = [owned_pod(first, name) for name in "xyz"[done:]] + [owned_pod(second, name) for name in "abc"[:done]]
        for status in (waiting("ContainerCreating"), running(done * 30, ready=False)):
            rollout.see(done * 30 + 1, new, first, second, *pods, owned_pod(second, "abc"[done], status), helm_done=False)
    rollout.see(95, new, first, second, *(owned_pod(second, name) for name in "abc"))
    assert_healthy(rollout)


def test_job_with_two_failed_tries() -> None:
    rollout, pods = Rollout(job()), []
    rollout.see(1, job(active=1), job_pod(job(), "a", running()))
    for number, name in enumerate("ab", 1):
        pods.append(job_pod(job(), name, terminated(ended(1)), phase="Failed"))
        rollout.see(number * 20, job(failed=number, active=1), *pods)
        rollout.see(number * 20 + 10, job(failed=number, active=1), *pods, job_pod(job(), name + "x", running()))
    done = job_pod(job(), "c", terminated(ended(0)), phase="Succeeded")
    rollout.see(70, job(failed=2, succeeded=1, conditions=[condition("Complete")]), *pods, done)
    assert_healthy(rollout)


def test_job_that_is_deleted_when_it_is_done() -> None:
    rollout = Rollout(job())
    rollout.see(1, job(active=1))
    rollout.see(9, job(succeeded=1, conditions=[condition("Complete")]), helm_done=False)
    rollout.see(90)
    assert_healthy(rollout)


def test_slow_sidecar() -> None:
    sidecar = container("proxy", restartPolicy="Always", startupProbe={"httpGet": {"port": 1}, "failureThreshold": 60})
    web = Web()
    item = owned_pod(web.newest, "a")
    unhealthy = (event(item, "Unhealthy", "Startup probe failed: connection refused", at=30, count=25, container="proxy"),)
    starting = {**running(1, ready=False), "started": False}
    for seconds in (2, 30, 59):
        web.see(seconds, waiting("PodInitializing"), init=[(sidecar, starting)], events=unhealthy, phase="Pending")
    web.see(60, running(60, ready=False), init=[(sidecar, running(1))], events=unhealthy)
    web.see(61, running(60), init=[(sidecar, running(1))], events=unhealthy)
    assert_healthy(web.rollout)


def test_leader_election_leaves_followers_and_their_service_without_endpoints() -> None:
    web = deployment("web", 2)
    newest, leader, everyone = replica_set(web), service("leader", {"app": "web", "role": "leader"}), service("web")
    rollout = Rollout(leader, everyone, web)
    pods = [owned_pod(newest, "a", running(1)), owned_pod(newest, "b", running(1, ready=False))]
    slices = [endpoint_slice(leader), endpoint_slice(everyone, True, False)]
    for seconds in (2, 30, 60):
        rollout.see(seconds, leader, everyone, web, newest, *pods, *slices)
    both = [owned_pod(newest, name) for name in "ab"]
    rollout.see(90, leader, everyone, web, newest, *both, endpoint_slice(leader), endpoint_slice(everyone, True, True))
    assert_healthy(rollout)


def test_config_that_another_controller_creates_after_fifteen_seconds() -> None:
    web = Web()
    web.see(1, waiting("CreateContainerConfigError", 'secret "tls" not found'))
    web.see(15, waiting("CreateContainerConfigError", 'secret "tls" not found'))
    web.see(17, running(17))
    assert_healthy(web.rollout)


def test_volume_of_config_that_appears_and_a_slow_pull_after_it() -> None:
    web = Web()
    item = owned_pod(web.newest, "a")
    mount = event(item, "FailedMount", 'configmap "web" not found', at=10, first=1, count=5)
    web.see(10, waiting("ContainerCreating"), events=(mount,))
    pulling = event(item, "Pulling", "Pulling image", at=16, container="web")
    for seconds in (16, 60, 120):
        web.see(seconds, waiting("ContainerCreating"), events=(mount, pulling))
    web.see(130, running(130), events=(mount, pulling))
    assert_healthy(web.rollout)


def test_endpoints_that_come_a_little_later() -> None:
    web, live = deployment(), service()
    newest, rollout = replica_set(web), Rollout(service(), web)
    for seconds in (2, 10, 21):
        rollout.see(seconds, web, newest, owned_pod(newest, "a"), live)
    rollout.see(21.5, web, newest, owned_pod(newest, "a"), live, endpoint_slice(live, True))
    assert_healthy(rollout)


def test_stateful_set_starts_one_pod_after_the_other() -> None:
    db = stateful_set()
    rollout = Rollout(db)
    for count in range(1, 4):
        pods = [ordinal_pod(db, number) for number in range(count - 1)]
        for status in (waiting("ContainerCreating"), running(count * 40, ready=False)):
            rollout.see(count * 40, db, *pods, ordinal_pod(db, count - 1, status))
    rollout.see(170, db, *(ordinal_pod(db, number) for number in range(3)))
    assert_healthy(rollout)


def test_eviction_in_mid_rollout() -> None:
    web = Web()
    evicted = changed(pod("web-7f1-a", phase="Failed", owner=web.newest), status={"reason": "Evicted"})
    web.see_pod(2, evicted)
    web.see_pod(40, evicted, owned_pod(web.newest, "b", waiting("ContainerCreating")))
    web.see_pod(90, evicted, owned_pod(web.newest, "b"))
    assert_healthy(web.rollout)


def test_node_whose_clock_is_an_hour_ahead() -> None:
    web = Web(container(probed=False))
    web.see(3, running(3600), created=0)
    web.see(7.9, running(3600))
    web.see(8, running(3600))
    assert_healthy(web.rollout)
