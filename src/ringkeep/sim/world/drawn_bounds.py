"""The bounds of the nodes of a simulated world: in every second world, many of them are low, so that they are
reached often. In the others only logs are short and snapshot chunks have two rows, so that snapshots happen
at all and take several messages.
"""

from collections.abc import Mapping
from dataclasses import fields, replace
from random import Random
from typing import Final

from ringkeep.core.cluster.cluster_settings import FORGET_MS, MOVE_BYTES_PER_S, MOVES_AT_ONCE
from ringkeep.core.protocol.bounds import IN_USE, Bounds

USUAL: Final = replace(IN_USE, log_entries=12, snapshot_chunk_rows=2)
APPEND_ENTRIES: Final = (1, 1, 3, 512)
"""So few entries that a log arrives in pieces; drawn in every world."""

LOW: Final[Mapping[str, tuple[int, ...]]] = {
    "idempotency_window_ms": (100, 6_000, 12_000),
    "clock_ahead_ms": (20, 200),
    "handovers_at_once": (1,),
    "append_entries": (1, 2),
    "append_bytes": (1, 200),
    "inflight_bytes": (1, 100, 400),
    "apply_at_once": (1, 3),
    "pinned_log_bytes": (3_000, 6_000),
    "uncommitted_entries": (1, 2, 4),
    "uncommitted_bytes": (1, 10, 30),
    "parked_requests": (1, 1, 3),
    "parked_bytes": (1, 8),
    "log_entries": (1, 4),
    "log_bytes": (100, 500),
    "all_logs_bytes": (300, 2_000),
    "snapshot_chunk_bytes": (1, 100),
    "snapshot_chunk_rows": (1,),
    "snapshots_at_once": (1,),
    "snapshot_turn_bytes": (1, 150),
    "staging_sync_bytes": (1, 60),
    "staging_unsynced_bytes": (60, 200),
    "bulk_bytes": (0, 4, 90),
    "bulk_turn_bytes": (1, 10),
    "probes_at_once": (1, 2),
    "read_turn_bytes": (1, 10),
    "turn_bytes": (1, 100, 300),
    "unwritten_bytes": (0, 100, 300),
    "clock_logged_ms": (300, 1_000),  # not so often that replicas never rest
    "expire_at_once": (1, 2),
    "result_window_ms": (3_100, 6_000),  # longer than a coordinator asks, by any clock
    "listed_keys": (1, 3),
    "listings_at_once": (1, 2),
    "scans_at_once": (1, 3),
    "scan_turn_rows": (1, 3),
    "page_bytes": (1, 20),
    "history_bytes": (0, 2_000, 10_000),
    "feeds_at_once": (1, 2),
    "feed_turn_rows": (1, 3),
    "feed_piece_bytes": (1, 200),
    "expired_in_tick": (1, 2),
}
"""What each bound may be where it is low. A simulated value has five bytes, an entry with it ninety."""

assert LOW.keys() == {field.name for field in fields(Bounds)}, "every bound is drawn low in some worlds"


LOW_SETTINGS: Final[Mapping[str, tuple[int, ...]]] = {
    MOVES_AT_ONCE: (1,),
    MOVE_BYTES_PER_S: (8_000, 30_000),
    FORGET_MS: (1_000, 2_000),
}
"""The same for what operators may set."""

LARGE_TIMES: Final = 10
"""So many times faster are moves where values are large: a few of those are most of a partition."""


IN_FLIGHT: Final = (1, 1, 100)
"""The bound of bytes in flight to a peer in worlds where much arrives twice: bytes that stay counted are
noticed there."""


def draw(seed: int, stragglers: bool = False, full_rooms: bool = False) -> Bounds:
    """Return the bounds of this seed's world. They do not use the world's own random numbers.

    `stragglers`: whether much arrives twice in it. `full_rooms`: whether one request may wait for a primary.
    """
    low = _some(LOW, seed)
    if full_rooms:
        low["parked_requests"] = 1
    if stragglers:
        low["inflight_bytes"] = IN_FLIGHT[seed // 16 % len(IN_FLIGHT)]
    if "staging_unsynced_bytes" in low:
        low.setdefault("staging_sync_bytes", min(LOW["staging_sync_bytes"]))
    return replace(USUAL, **({"append_entries": APPEND_ENTRIES[seed // 4 % 4]} | low))


def draw_settings(seed: int, large_values: bool = False) -> dict[str, int]:
    """Return the settings that an operator of this seed's world sets first. `large_values`: whether some
    values are large in it.
    """
    low = _some(LOW_SETTINGS, seed)
    if large_values and MOVE_BYTES_PER_S in low:
        low[MOVE_BYTES_PER_S] *= LARGE_TIMES
    return low


def _some(possible: Mapping[str, tuple[int, ...]], seed: int) -> dict[str, int]:
    """Choose low values: none in every second world; few, half of them or all of them in the others."""
    random = Random(f"bounds of {seed}")
    share = random.choice((0, 0, 0, 0.2, 0.5, 1.0))
    return {name: random.choice(values) for name, values in possible.items() if random.random() < share}
