"""The bounds that the core works under: what one node may hold, send and accept at one time.

They are values that a node is given, and not constants, so that the simulator can draw every one of them low:
reaching a bound is then an ordinary event there. The values in use are those of `limits.py`.
"""

from dataclasses import dataclass
from typing import Final

from ringkeep.core.protocol import limits
from ringkeep.core.protocol.types import Millis


@dataclass(frozen=True, slots=True)
class Bounds:
    """Each field is the limit of the same name in `limits.py`, which explains it."""

    idempotency_window_ms: Millis = limits.IDEMPOTENCY_WINDOW_MS
    result_window_ms: Millis = limits.RESULT_WINDOW_MS
    clock_ahead_ms: Millis = limits.CLOCK_AHEAD_MS
    clock_logged_ms: Millis = limits.CLOCK_LOGGED_MS
    expire_at_once: int = limits.EXPIRE_AT_ONCE
    handovers_at_once: int = limits.HANDOVERS_AT_ONCE
    append_entries: int = limits.APPEND_ENTRIES
    append_bytes: int = limits.APPEND_BYTES
    inflight_bytes: int = limits.INFLIGHT_BYTES
    apply_at_once: int = limits.APPLY_AT_ONCE
    unwritten_bytes: int = limits.UNWRITTEN_BYTES
    pinned_log_bytes: int = limits.PINNED_LOG_BYTES
    uncommitted_entries: int = limits.UNCOMMITTED_ENTRIES
    uncommitted_bytes: int = limits.UNCOMMITTED_BYTES
    parked_requests: int = limits.PARKED_REQUESTS
    parked_bytes: int = limits.PARKED_BYTES
    log_entries: int = limits.LOG_ENTRIES
    log_bytes: int = limits.LOG_BYTES
    all_logs_bytes: int = limits.ALL_LOGS_BYTES
    snapshot_chunk_bytes: int = limits.SNAPSHOT_CHUNK_BYTES
    snapshot_chunk_rows: int = limits.SNAPSHOT_CHUNK_ROWS
    snapshots_at_once: int = limits.SNAPSHOTS_AT_ONCE
    snapshot_turn_bytes: int = limits.SNAPSHOT_TURN_BYTES
    staging_sync_bytes: int = limits.STAGING_SYNC_BYTES
    staging_unsynced_bytes: int = limits.STAGING_UNSYNCED_BYTES
    bulk_bytes: int = limits.BULK_BYTES
    bulk_turn_bytes: int = limits.BULK_TURN_BYTES
    probes_at_once: int = limits.PROBES_AT_ONCE
    read_turn_bytes: int = limits.READ_TURN_BYTES
    turn_bytes: int = limits.TURN_BYTES
    listed_keys: int = limits.LISTED_KEYS
    listings_at_once: int = limits.LISTINGS_AT_ONCE
    scans_at_once: int = limits.SCANS_AT_ONCE
    scan_turn_rows: int = limits.SCAN_TURN_ROWS
    page_bytes: int = limits.PAGE_BYTES
    history_bytes: int = limits.HISTORY_BYTES
    feeds_at_once: int = limits.FEEDS_AT_ONCE
    feed_turn_rows: int = limits.FEED_TURN_ROWS
    feed_piece_bytes: int = limits.FEED_PIECE_BYTES
    expired_in_tick: int = limits.EXPIRED_IN_TICK

    def __post_init__(self) -> None:
        assert self.staging_sync_bytes <= self.staging_unsynced_bytes, "a sync is due before the room is full"


IN_USE: Final = Bounds()
