"""Every bound, with its unit, and the relations between bounds that the rest relies on."""

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB

# requests
KEY_BYTES: Final = 1_024
VALUE_BYTES: Final = 4 * MIB
ENTRY_BYTES: Final = 2 * VALUE_BYTES + 64 * KIB  # a value, and the one that it replaces
CONTENT_TYPE_BYTES: Final = 255
IDEMPOTENCY_KEY_BYTES: Final = 255
TIMEOUT_MS: Final = 5_000
MAX_TIMEOUT_MS: Final = 30_000
REPLY_GRACE_MS: Final = 500  # how long past the deadline a coordinator waits for the primary's answer
IDEMPOTENCY_WINDOW_MS: Final = 15 * 60 * 1_000
LISTED_KEYS: Final = 10_000  # in one page
LISTINGS_AT_ONCE: Final = 64  # that a node coordinates; beyond: 429
SCANS_AT_ONCE: Final = 256  # that a node reads; beyond, their coordinators ask again
SCAN_TURN_ROWS: Final = 1_000  # that a node reads for listings in one turn: some 2 ms
PAGE_BYTES: Final = 1 * MIB  # of values; the one that reaches it is the last
RESULT_WINDOW_MS: Final = 60 * 1_000  # how long a result with a value is kept for its coordinator
KEPT_RESULT_BYTES: Final = 64 * KIB  # of a result that is kept under a client's own key
FEEDS_AT_ONCE: Final = 4_096  # readers of changes at one node; beyond: 429
FEED_TURN_ROWS: Final = 1_000  # entries that a node reads for readers of changes in one turn: some 5 ms
FEED_PIECE_BYTES: Final = 256 * KIB  # of changes in one message; the entry that reaches it is the last
MAX_TTL_MS: Final = 100 * 366 * 24 * 60 * 60 * 1_000

# failure detection
TICK_MS: Final = 20
HEARTBEAT_MS: Final = 100
LOOK_AFTER_MS: Final = 60  # how often a primary looks for silent backups and late requests
SUSPECT_AFTER_MS: Final = 1_000
OWN_PAUSE_MS: Final = 60  # a tick this late means that this node was paused, not that others were silent
RESEND_MS: Final = 300  # a Prepare, Append or Fetch without an answer is sent again
MAP_WRITE_INTERVAL_MS: Final = 500
HANDOVER_INTERVAL_MS: Final = 60  # short, because few handovers run at a time
CONTROL_INTERVAL_MS: Final = 500
PLAN_AGAIN_MS: Final = 10_000  # how often a controller plans again while nothing has changed
MAP_ANSWER_MS: Final = 300  # after so long without an answer to a write, the next member acts
MAP_READ_MS: Final = 60  # the same, without a map that was read after a failed write
REPORT_HOPS: Final = 8  # nodes that pass a report on, at most
TAKE_OFFICE_MS: Final = 5_000  # a primary that is not ACTIVE by then asks for a replacement
ORDER_MS: Final = 10_000  # how long a node repeats an operator's order to the controller
SYNC_MS: Final = 200  # a voter is in sync if it holds what was committed so long ago
POSITIONS_MS: Final = 500  # how often a node tells readers of changes how far they have heard all
BOOKMARK_MS: Final = 1_000  # how often readers of changes are given a bookmark, if it is another
KEEP_ALIVE_MS: Final = 10_000  # how often they are given the same one
FEED_SILENT_MS: Final = 3_000  # after so long without a word, changes are asked of another node
FEED_RETRY_MS: Final = 200  # after a refusal, another node or the same one is asked so much later
LAPSE_MS: Final = 2_000  # a change of primary counts as an outage only after so long
CUT_OFF_HOLD_MS: Final = 2_000  # how long a node must be cut off, or not, before that is reported
STATEMENT_MS: Final = 2_000  # how long a primary's statement stays good
CUT_OFF_MS: Final = 3_000  # a controller without a majority for so long registers again, as the last
GIVE_BACK_AFTER_MS: Final = 2_000  # how long a preferred primary must have answered before it leads again
HANDOVERS_AT_ONCE: Final = 8
MOVES_AT_ONCE: Final = 8  # partitions whose replicas change at one time
ABSENT_MS: Final = 5_000  # a newcomer silent for so long no longer delays a change
GRACE_MS: Final = 10 * 60 * 1_000  # a node silent for so long is given up (a setting)
FORGET_MS: Final = 24 * 60 * 60 * 1_000  # a dead node that holds nothing is forgotten after that (a setting)
STALL_WAIT_MS: Final = 1_000  # how long writes wait for a store that refuses, before they are refused, too
DISK_ANSWERS_MS: Final = 3_000  # a disk that has not answered for so long counts as failed until it does
FULL_MS: Final = 10_000  # for so long after its disk was full, a node receives no moves
SIZES_MS: Final = 1_000  # how often nodes report sizes of partitions that may have changed
ALL_SIZES_MS: Final = 30_000  # how often they report all sizes
MARK_MS: Final = 200  # how often a node writes its mark to ZooKeeper, if it has changed
MARK_SPREAD_MS: Final = (
    50  # times the number of nodes, if that is more: all of them together write 20 a second
)
MARK_MOST_MS: Final = 2_000  # the longest interval
MARK_ANSWER_MS: Final = 2_000  # a request about the mark is repeated after so long
COPY_WAIT_MS: Final = 2_000  # beyond two sessions: a process still registered as this node is running
SURPLUS_MS: Final = 500  # how often a node asks whether it may delete a replica that was moved away

# replication
APPEND_ENTRIES: Final = 512  # per Append
APPEND_BYTES: Final = 1 * MIB  # per Append; one larger entry goes alone
INFLIGHT_BYTES: Final = 24 * MIB  # unacknowledged, per peer, over all partitions
APPLY_AT_ONCE: Final = 16  # a backup applies when so many entries are committed, or at the next tick
UNWRITTEN_BYTES: Final = 64 * KIB  # of rows, per replica, in memory and log only; then all are written
PINNED_LOG_BYTES: Final = 64 * MIB  # of one replica's log, kept for a transfer; beyond: 429
UNCOMMITTED_ENTRIES: Final = 4_096  # per replica; beyond: 429
UNCOMMITTED_BYTES: Final = 32 * MIB  # per replica; beyond: 429
PARKED_REQUESTS: Final = 4_096  # per replica; beyond: 429
PARKED_BYTES: Final = 128 * MIB  # per node; beyond: 429
LOG_ENTRIES: Final = 1_024  # kept after they were applied, per replica
LOG_BYTES: Final = 1 * MIB
ALL_LOGS_BYTES: Final = 64 * MIB  # per node: beyond, the longest logs are trimmed sooner
HISTORY_BYTES: Final = 1024 * MIB  # of log rows below the logs, per node: kept for readers of changes
SNAPSHOT_CHUNK_BYTES: Final = 256 * KIB  # one for each pull
SNAPSHOT_CHUNK_ROWS: Final = 2_048
SNAPSHOTS_AT_ONCE: Final = 4  # open on one node
SNAPSHOT_IDLE_MS: Final = 10_000  # silence after which a transfer is given up
MOVE_BYTES_PER_S: Final = 16 * MIB  # of snapshots that one node sends (a setting); keeps client latency low
SNAPSHOT_TURN_BYTES: Final = 512 * KIB  # sent in one turn, and one chunk: clients wait meanwhile
STAGING_SYNC_BYTES: Final = 4 * MIB  # staged: a sync is requested
STAGING_UNSYNCED_BYTES: Final = 32 * MIB  # staged and not synced: no more chunks are requested
CLOCK_AHEAD_MS: Final = 2_000  # how far a log's clock runs past the last confirmation of its primary
CLOCK_LOGGED_MS: Final = 60_000  # so far past its last entry, a log with deadlines is given the time
EXPIRE_AT_ONCE: Final = 256  # records that one entry removes
EXPIRED_IN_TICK: Final = 16  # records that one node removes in a tick: with 64, p99 rose six times, not four
COPIES_MS: Final = 500  # how often nodes report their copies of partitions without a majority
RECOVERY_STEP: Final = 1 << 48
"""Each recovery after a loss begins the indices above the next multiple of this. At 100,000 writes a
second one partition reaches it in 89 years; 31 recoveries stay within what a double holds exactly."""

# frames
FRAME_BYTES: Final = 16 * MIB  # the longest that is accepted
BULK_BYTES: Final = 16 * KIB  # a value or an entry above this goes on the lane for large things
BULK_FRAME_BYTES: Final = 1 * MIB  # of that lane: taken in one piece; one larger message goes alone
BULK_TURN_BYTES: Final = 4 * MIB  # of requests and answers, to one peer in one turn
TURN_BYTES: Final = 4 * MIB  # of entries committed, applied and sent in one turn, and what one step adds
PROBES_AT_ONCE: Final = 256  # partitions per node whose primaries are confirmed each second unasked
READ_TURN_BYTES: Final = 8 * MIB  # of values read for answers in one turn
BULK_BYTES_PER_MS: Final = 10 * KIB  # the slowest path on which a busy bulk lane does not count as silent
LINK_JAM_BYTES: Final = 4 * MIB  # unsent to one peer; beyond: large requests and answers are held back
LINK_BUFFER_BYTES: Final = 64 * MIB  # unsent to one peer; beyond: the link is closed and made again
MAP_BYTES: Final = 512 * KIB  # the compressed map in its znode
MAP_GROWTH_BYTES: Final = 448 * KIB  # joins and settings beyond it are refused; the rest is for failovers

# disk
DISK_RESERVE_BYTES: Final = 256 * MIB

REPLICATION: Final = 3
REPLICATIONS: Final = (1, 3, 5)
WEIGHTS: Final = range(1, 101)  # a node's weight

assert HEARTBEAT_MS * 5 <= SUSPECT_AFTER_MS, "a few lost beats are not a death"
assert HEARTBEAT_MS <= SYNC_MS < SUSPECT_AFTER_MS <= LAPSE_MS, "who is silent is suspected, not outvoted"
assert LOOK_AFTER_MS * 4 <= RESEND_MS
assert SUSPECT_AFTER_MS < DISK_ANSWERS_MS, "a node is not left sooner for its disk than for its silence"
assert POSITIONS_MS * 4 <= FEED_SILENT_MS and POSITIONS_MS < BOOKMARK_MS < KEEP_ALIVE_MS
assert TICK_MS * 2 <= OWN_PAUSE_MS < HEARTBEAT_MS
assert TICK_MS * 2 <= HEARTBEAT_MS, "the clock is finer than what it drives"
assert APPEND_BYTES + ENTRY_BYTES + 64 * KIB < FRAME_BYTES, "one Append and one largest entry fit a frame"
assert SNAPSHOT_CHUNK_BYTES + VALUE_BYTES + 64 * KIB < FRAME_BYTES, (
    "one chunk and one largest row fit a frame"
)
assert MAP_GROWTH_BYTES < MAP_BYTES
assert FRAME_BYTES + INFLIGHT_BYTES <= LINK_BUFFER_BYTES, "one slow replica does not cost a link"
assert LINK_JAM_BYTES + 3 * (BULK_TURN_BYTES + TURN_BYTES + 3 * VALUE_BYTES) <= LINK_BUFFER_BYTES, (
    "nor do requests, answers, snapshots and entries, which hear of a jam two turns late"
)
assert SNAPSHOT_CHUNK_BYTES <= SNAPSHOT_TURN_BYTES < BULK_TURN_BYTES
assert 2 * STAGING_SYNC_BYTES <= STAGING_UNSYNCED_BYTES, "one is staged while the other is synced"
assert RESEND_MS * 2 <= SUSPECT_AFTER_MS < SNAPSHOT_IDLE_MS, "who waits for a snapshot says so in time"
assert APPEND_BYTES <= INFLIGHT_BYTES <= UNCOMMITTED_BYTES
assert 2 * INFLIGHT_BYTES <= LINK_BUFFER_BYTES, "entries alone never fill a link's buffer"
assert COPIES_MS * 2 <= STATEMENT_MS, "one lost message is no silence"
assert MAX_TIMEOUT_MS < RESULT_WINDOW_MS < IDEMPOTENCY_WINDOW_MS, (
    "a retry within its deadline finds its first result"
)
