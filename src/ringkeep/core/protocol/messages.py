"""The messages that nodes send to each other.

A message belongs to the connection it came on, which names the sender and both incarnations: no message
repeats them. Those of the data path are in `hot_messages`; `wire/` defines the encoding of all.
"""

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from ringkeep.core.protocol.hot_messages import (
    Acks,
    Append,
    Clocks,
    Commits,
    Confirm,
    Confirmed,
    Forward,
    Reply,
)
from ringkeep.core.protocol.types import Epoch, Index, MapVersion, Millis, NodeId, PartitionId

SNAPSHOT_FORMAT: Final = 1

# --- requests ---------------------------------------------------------------------------------------


@dataclass(slots=True)
class StaleRead:
    """Coordinator to any replica: read what is applied, if `at_least` is. Answered with Reply (epoch 0)."""

    tag: int
    partition: PartitionId
    remaining_ms: Millis
    at_least: int
    key: bytes


class Wanted(IntEnum):
    """What a listing tells of each key."""

    KEYS = 0  # version and time to live
    VALUES = 1  # content type and value, too; a large value is only announced
    COUNT = 2  # nothing: the keys are counted
    POSITIONS = 3  # nothing, of no key: the partitions say how far they are


@dataclass(slots=True)
class Scan:
    """Coordinator to primaries on one node: merge what is from `begin` on and before `end` (b"": no end).

    `partitions`: flat pairs partition, epoch. `limit`: of keys.
    """

    tag: int
    remaining_ms: Millis
    begin: bytes
    end: bytes
    limit: int
    wanted: int
    partitions: list[int]


@dataclass(slots=True)
class Scanned:
    """The answer: every key before `to` (b"": of the whole range) in these partitions but the `refused` ones,
    which this node does not lead at present.

    `versions`, `ttls` (milliseconds left, 0 for ever), `types`, `values`: of each of the `keys`; the last two
    are empty unless values are wanted. `large`: places of keys whose values are not told, because they are
    large. `positions`: flat pairs partition, applied index, confirmed, if those are wanted.
    """

    tag: int
    to: bytes
    refused: list[PartitionId]
    count: int
    keys: list[bytes]
    versions: list[int]
    ttls: list[int]
    types: list[bytes]
    values: list[bytes]
    large: list[int]
    positions: list[int]


@dataclass(slots=True)
class ReadMany:
    """Coordinator to primaries on one node: read these keys.

    `partitions`: flat triples partition, epoch, how many of the keys it has; the keys stand in that order.
    """

    tag: int
    remaining_ms: Millis
    partitions: list[int]
    keys: list[bytes]


@dataclass(slots=True)
class Records:
    """The answer: of each key its version (0: there is no such key; -1: it is to be read alone), milliseconds
    left (0: for ever), content type and value. If all versions are -1, the other lists may be empty.
    """

    tag: int
    versions: list[int]
    ttls: list[int]
    types: list[bytes]
    values: list[bytes]


# --- changes, as readers of them are told ------------------------------------------------------------


@dataclass(slots=True)
class Follow:
    """Reader's node to a replica's holder: tell me the changes of keys with this prefix in these partitions.

    `tag` names what one reader asks of one node; a further message of it adds to that. `positions`: flat
    pairs partition, after which entry, or `feed.NOW`, which only a confirmed primary knows. `ended`: these
    partitions no more. `credit`: so many more bytes, as `feed.size_of` counts. `closed`: nothing any more.
    """

    tag: int
    prefix: bytes
    values: bool
    credit: int
    positions: list[int]
    ended: list[PartitionId]
    closed: bool = False


@dataclass(slots=True)
class Changes:
    """The answer, in pieces; `number` counts those of one tag, from 1, since lanes may overtake each other.

    `events`: as `feed.Event`; those of one entry are not divided. `marks`: flat triples partition, after, up
    to: all changes after the one entry and up to the other are here. `refused`: flat pairs partition,
    `feed.Refusal`: not told any more. `age`: what was committed so many milliseconds ago in the partitions of
    this tag is told; -1: not all.
    """

    tag: int
    number: int
    events: list[tuple[PartitionId, Index, int, bytes, bytes, bytes, int]]
    marks: list[int]
    refused: list[int]
    age: int


# --- change of primary, recovery ---------------------------------------------------------------------


@dataclass(slots=True)
class Prepare:
    """New primary to voter: follow me from this epoch on, and report the end of your log.

    Repeated after a reconnect.
    """

    partition: PartitionId
    epoch: Epoch


@dataclass(slots=True)
class Promise:
    """Voter to primary, after fsync of the promise and of the whole tail."""

    partition: PartitionId
    epoch: Epoch
    last_epoch: Epoch
    last_index: Index
    commit: Index


@dataclass(slots=True)
class Refuse:
    """Voter to primary: I did not take what you sent under `epoch`.

    `promised` > epoch: you are deposed. `promised` == epoch: my log does not match; send Prepare again.
    """

    partition: PartitionId
    epoch: Epoch
    promised: Epoch


@dataclass(slots=True)
class Lost:
    """Primary to voter: an earlier life of yours held (`last_epoch`, `index`) durably, and you do not."""

    partition: PartitionId
    epoch: Epoch
    last_epoch: Epoch
    index: Index


@dataclass(slots=True)
class Fetch:
    """New primary to the voter with the greatest log: entries after `after`, please (my commit)."""

    partition: PartitionId
    epoch: Epoch
    after: Index


@dataclass(slots=True)
class Entries:
    """Answer to Fetch: consecutive entries after (prev_epoch, prev_index). Empty: nothing there."""

    partition: PartitionId
    epoch: Epoch
    prev_epoch: Epoch
    prev_index: Index
    entries: list[bytes]


@dataclass(slots=True)
class SnapshotOffer:
    """Holder to receiver: my log does not reach back to you, or would cost more; pull this snapshot.

    `snapshot` names it on the holder's side. `state` is the encoded de-duplication state at (last_epoch,
    last_index), which becomes the receiver's floor.
    """

    partition: PartitionId
    epoch: Epoch
    snapshot: int
    last_epoch: Epoch
    last_index: Index
    log_time: Millis
    state: bytes
    format: int = SNAPSHOT_FORMAT


@dataclass(slots=True)
class SnapshotPull:
    """Receiver to holder: all rows up to `cursor` (b"": none) are here; send the chunk that follows.

    `room`: 0: keep the snapshot open, but send nothing yet; any other number: send. `done` frees the
    snapshot.
    """

    partition: PartitionId
    epoch: Epoch
    snapshot: int
    cursor: bytes
    room: int = 0
    done: bool = False


@dataclass(slots=True)
class SnapshotChunk:
    """Holder to receiver: rows that follow `cursor`; keys without their (partition, generation) prefix.

    `checksum` is the running CRC-32C of all rows so far; `final`: these were the last. `gone`: start over.
    """

    partition: PartitionId
    epoch: Epoch
    snapshot: int
    cursor: bytes
    rows: list[tuple[bytes, bytes]]
    checksum: int
    final: bool
    gone: bool = False


# --- nodes -------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Heartbeat:
    """Every node to every other, each HEARTBEAT_MS, and at once when a suspicion changes.

    `suspects`: the nodes that the sender takes for dead or cut off. `map_version`, `map_digest` (CRC-32 of
    its encoding): the newest map it holds.
    `probe` counts up; `echo` is the last probe heard from the receiver, so that each end knows that the path
    works both ways. `link` counts the sender's connections to the receiver, and how often frames of the
    receiver were lost: when it has changed, what was asked of the sender, or its answers, may have been lost.
    `active`: a bit per partition, lowest first, that the sender leads and serves. `ready`: caught up,
    serving. `disk`: the state of its disk, `core.disk_state.DiskState`.
    `copies`: first a bit for each partition that it leads and whose copies it has counted; then for those of
    which at least one voter is not in sync, for those of at least two, and so on (while joint: of the old or
    the new voters, whichever lack more). `behind`: who is not in sync, and in how many of these partitions.
    `steers`: it may act as the controller: ZooKeeper answers it, and holds the cluster's present map.
    """

    map_version: MapVersion
    map_digest: int
    link: int
    probe: int
    echo: int
    suspects: list[NodeId]
    active: bytes = b""
    draining: bool = False
    ready: bool = False
    damaged: bool = False
    disk: int = 0
    copies: list[bytes] = field(default_factory=list)
    behind: list[tuple[NodeId, int]] = field(default_factory=list)
    steers: bool = True


@dataclass(slots=True)
class Relayed(Heartbeat):
    """A heartbeat of `node`, relayed to a peer that does not hear `node`.

    `age_ms`: milliseconds since it reached the first relaying node.
    """

    node: NodeId = NodeId("")
    age_ms: Millis = 0


class Said(IntEnum):
    """What a primary may report about its partition."""

    FAILED = 1  # it could not become ACTIVE, or cannot reach a majority: choose another
    HANDOVER = 2  # hand the partition over to this node, which has caught up
    CAUGHT_UP = 3  # this learner has nearly caught up
    SETTLED = 4  # an entry of the joint voters is committed


Order = tuple[str, str, int]
"""What an operator wants: (subject, `orders.Verb`, number)."""


@dataclass(slots=True)
class Report:
    """To the controller: statements of the sender's primaries, and operators' orders given to this node.

    `statements`: (partition, epoch, config, `Said`, node, or `rows.NO_NODE`). `orders`: see
    `core.cluster.orders`. `hops`: how many nodes have relayed it; more than 0 if its sender has no link to
    the controller.
    """

    statements: list[tuple[PartitionId, Epoch, MapVersion, int, NodeId]]
    orders: list[tuple[str, str, int]] = field(default_factory=list)
    hops: int = 0


@dataclass(slots=True)
class Sizes:
    """Every node to every other, periodically: the sizes of its partitions, for status and plans.

    `sizes`: for partitions that it leads, flat pairs partition, bytes that a newcomer must receive. `sent`:
    for those with a learner, flat pairs partition, bytes sent to the learner.
    """

    sizes: list[int] = field(default_factory=list)
    sent: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Copies:
    """Every node to every other, while partitions have no majority: its durable copies of them.

    `looked`: the partitions that lack a majority, as the sender sees it. `held`: for each of them of which it
    has a copy, (partition, highest promise, last epoch, last index), whatever its role is or was.
    """

    looked: list[PartitionId]
    held: list[tuple[PartitionId, Epoch, Epoch, Index]]


@dataclass(slots=True)
class Surplus:
    """Holder to primary: the map of that config gives me no replica of it. Repeated until released.

    `holder`, `hops`: the holder's id, and how many nodes have relayed it; "" and 0 on its own link.
    """

    partition: PartitionId
    config: MapVersion
    holder: NodeId = NodeId("")
    hops: int = 0


@dataclass(slots=True)
class Release:
    """Primary to holder: I serve under that config, without you: delete your replica, and keep `promised`.

    `holder`, `hops`: as in `Surplus`.
    """

    partition: PartitionId
    epoch: Epoch
    config: MapVersion
    holder: NodeId = NodeId("")
    hops: int = 0


@dataclass(slots=True)
class MapPush:
    """A newer map, encoded, from any node that holds it."""

    version: MapVersion
    payload: bytes


Message = (
    Append
    | Acks
    | Commits
    | Clocks
    | Confirm
    | Confirmed
    | Forward
    | Reply
    | StaleRead
    | Scan
    | Scanned
    | ReadMany
    | Records
    | Follow
    | Changes
    | Prepare
    | Promise
    | Refuse
    | Lost
    | Fetch
    | Entries
    | SnapshotOffer
    | SnapshotPull
    | SnapshotChunk
    | Heartbeat
    | Relayed
    | Report
    | Sizes
    | Copies
    | Surplus
    | Release
    | MapPush
)
