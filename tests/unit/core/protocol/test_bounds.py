"""Every bound reaches the core as a value, so that the simulator can draw it low; none may be forgotten."""

from dataclasses import fields, replace
from typing import Final

import pytest

from ringkeep.core.cluster import cluster_settings
from ringkeep.core.protocol import limits
from ringkeep.core.protocol.bounds import IN_USE, Bounds
from ringkeep.sim.world.drawn_bounds import LOW, LOW_SETTINGS, draw, draw_settings

BOUNDS = {field.name for field in fields(Bounds)}
SETTINGS = set(cluster_settings.SETTINGS)
ELSEWHERE: Final = {
    "KIB", "MIB",  # units
    "KEY_BYTES", "VALUE_BYTES", "CONTENT_TYPE_BYTES", "IDEMPOTENCY_KEY_BYTES",  # of what clients may send
    "ENTRY_BYTES", "KEPT_RESULT_BYTES",  # of what is made of it
    "FRAME_BYTES", "BULK_FRAME_BYTES", "LINK_JAM_BYTES", "LINK_BUFFER_BYTES",  # of connections
    "MAP_BYTES", "MAP_GROWTH_BYTES",  # of the register
    "DISK_RESERVE_BYTES",  # told to the driver; simulated disks are full now and then
    "REPLICATION", "REPLICATIONS", "WEIGHTS",  # of a cluster and its nodes
    "REPORT_HOPS",  # ends what goes round in circles
    "RECOVERY_STEP",  # a distance between indices
}  # fmt: skip
"""Limits that are no bounds of the core."""


def test_every_limit_is_a_bound_a_setting_or_a_time() -> None:
    names = {name for name in vars(limits) if name.isupper()}
    assert names >= ELSEWHERE
    rest = {name.lower() for name in names - ELSEWHERE} - BOUNDS - SETTINGS
    assert all(name.endswith("_ms") for name in rest), "when something is done again is no bound"


def test_the_bounds_in_use_are_the_limits() -> None:
    assert all(getattr(IN_USE, name) == getattr(limits, name.upper()) for name in BOUNDS)


def test_each_is_low_in_some_worlds_and_none_in_others() -> None:
    drawn = [draw(seed) for seed in range(400)]
    for name in BOUNDS:
        seen = {getattr(bounds, name) for bounds in drawn}
        assert seen >= set(LOW[name]), name
    usual = [bounds for bounds in drawn if bounds.parked_requests == IN_USE.parked_requests]
    assert len(usual) > 200
    settings = [draw_settings(seed) for seed in range(400)]
    for name, values in LOW_SETTINGS.items():
        assert {found.get(name) for found in settings} == {None, *values}
        assert all(not cluster_settings.objection(name, value) for value in values)


def test_a_bound_that_could_never_be_left_again_is_refused() -> None:
    """With so little room that it is full before a sync is due, nothing would ever be synced."""
    with pytest.raises(AssertionError):
        replace(IN_USE, staging_unsynced_bytes=IN_USE.staging_sync_bytes - 1)
