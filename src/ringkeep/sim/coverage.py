"""Rare paths that a large number of seeds must cover: a path that never happened was not tested."""

from collections.abc import Mapping
from typing import Final

from ringkeep.sim.checks.invariants import Invariants
from ringkeep.sim.clients import Clients
from ringkeep.sim.faults.schedule import FAULT, FaultSchedule
from ringkeep.sim.faults.triggers import KINDS, TRIGGER
from ringkeep.sim.world.world import World

OF_ALL_KINDS: Final = (15, 7)
"""Seeds in whose worlds, together, every kind of fault may strike."""
PATHS: Final = (
    "acknowledged_lost",
    "answer_not_final",
    "asked_through_another_link",
    "append_refused_epoch",
    "appended_anew",
    "batch_done",
    "busy_for_a_transfer",
    "busy_pipeline",
    "busy_waiting_room",
    "commit_capped",
    "confirm_round_again",
    "controller_changed",
    "coordinators_forgotten",
    "copy_beside_refused",
    "cut_off_alone",
    "damage_repaired",
    "dead_forgotten",
    "departed_coordinator_refused",
    "deposed",
    "deposed_by_refusal",
    "disk_hangs",
    "disk_is_full",
    "disk_is_short",
    "disk_swapped",
    "duplicate_answered",
    "duplicate_waits",
    "expired",
    "expired_after_failover",
    "feature_level_raised",
    "given_up_alive",
    "handover_asked",
    "heard_again",
    "idempotent_answered",
    "joint_begun",
    "joint_failover",
    "joint_rolled_back",
    "lasting_cut",
    "lasting_cut_and_death",
    "lasting_stall",
    "lasting_decommission",
    "lasting_without_service",
    "learner_given_up",
    "log_trimmed",
    "log_trimmed_sooner",
    "lost_in_a_move",
    "loss_admitted",
    "listing_complete",
    "listing_refused",
    "listing_unanswered",
    "log_time_logged",
    "swept",
    "chain_over",
    "loss_noticed",
    "node_damaged",
    "node_given_up",
    "node_left",
    "node_updated",
    "parked_copy_replaced",
    "old_copy_beyond_mark",
    "old_copy_found",
    "old_copy_within_window",
    "partition_recovered",
    "position_asked_again",
    "primary_paused",
    "read_alone",
    "read_together",
    "replica_deleted",
    "request_sent_again",
    "restart_while_forming",
    "result_answered_again",
    "results_forgotten",
    "retry_answered",
    "sender_outlived",
    "snapshot_installed",
    "snapshot_kept_suffix",
    "snapshot_needed",
    "snapshot_sent_again",
    "staging_dropped",
    "suffix_cut",
    "tail_fetched",
    "went_on_above",
    "takeover_looked_again",
)


def never(total: Mapping[str, int]) -> list[str]:
    """Return what is not in these totals: kinds of fault, triggers that did not fire, paths not taken."""
    worlds = [World(seed) for seed in OF_ALL_KINDS]
    faults = [FaultSchedule(world, Clients(world, 0, 0, 1, []), Invariants(world)) for world in worlds]
    wanted = {FAULT + kind.__name__.lstrip("_") for each in faults for _, kind in each.kinds}
    wanted.update(TRIGGER + kind for kind in KINDS)
    wanted.update(PATHS)
    return sorted(name for name in wanted if not total.get(name))
