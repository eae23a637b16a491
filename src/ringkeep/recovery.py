"""Computes the map to write when ZooKeeper has lost the cluster's map, from the nodes' copies.

Every node keeps the newest map that it has seen, and every promise that it has made. The map with the highest
version is what the cluster last agreed on, as far as the copies show. The next one has the same content under
new numbers: its version is above every version held anywhere, and each partition's epoch is above every
promise made in it. So nothing promised, appended or acknowledged before can be mistaken for anything later.

Pure: knows nothing of how copies are gathered, or of where the map is written.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

from ringkeep.core.protocol.cluster_map import ClusterMap, NodeInfo, NodeState, Partition
from ringkeep.core.protocol.types import Epoch, MapVersion, NodeId, PartitionId
from ringkeep.errors import ProtocolError, RingkeepError
from ringkeep.wire import mapcodec

AHEAD: Final = 1_000_000
"""How far versions and epochs are set ahead if a node was not read: it may hold a newer map, with primaries
that act under it. An epoch that it knows must never get a second holder."""


class CannotRecover(RingkeepError):
    """Nothing was written; the text says why, and what to do."""


@dataclass(frozen=True, slots=True)
class MapCopy:
    """What one node holds. `source` says where it was read, for people.

    `held` is None for a node without a map. A node that may have lost data is not `whole`: its copy counts,
    but the node counts as not read. `promised`: the highest epoch, by partition.
    """

    node: NodeId
    name: str
    source: str
    held: ClusterMap | None
    promised: Mapping[PartitionId, Epoch]
    whole: bool = True


@dataclass(frozen=True, slots=True)
class Recovery:
    """What is to be written, and what the operator should know before.

    `newest`: the copy that it is made from. `unread`: the names of nodes that were left out.
    """

    next_map: ClusterMap
    newest: MapCopy
    unread: tuple[str, ...]
    warnings: tuple[str, ...]


def plan(copies: Sequence[MapCopy], register: ClusterMap | None, without: Collection[str]) -> Recovery:
    """Return the map to write, from all copies and from what ZooKeeper holds (None: no map).

    `without` names nodes that may go unread. Raises CannotRecover if the copies contradict each other, if
    nothing has to be recovered, or if a node that may know more was not read.
    """
    newest = newest_of(copies)
    held = newest.held
    assert held is not None, "the newest copy has a map"
    _check_register(held, register)
    maps = [copy.held for copy in copies if copy.held is not None] + ([register] if register else [])
    _check_one_line(maps)
    unread = unread_of(held, copies)
    _check_unread(held, unread, without)
    step = AHEAD if unread else 1
    promised = [_promised(copies, PartitionId(p)) for p in range(len(held.partitions))]
    next_map = replace(
        held,
        version=MapVersion(max(each.version for each in maps) + step),
        partitions=tuple(
            replace(part, epoch=Epoch(max(part.epoch, highest) + step))
            for part, highest in zip(held.partitions, promised, strict=True)
        ),
    )
    names = tuple(node.name for node in unread)
    return Recovery(next_map, newest, names, tuple(_warnings(held, promised, names)))


def newest_of(copies: Iterable[MapCopy]) -> MapCopy:
    """Return the copy with the highest number.

    Raises CannotRecover: there is none, they are of two clusters, or there are two maps of that number.
    """
    with_map = [copy for copy in copies if copy.held is not None]
    if not with_map:
        raise CannotRecover(
            "no copy of a cluster map was found, and nothing was written: give the running nodes with"
            " --endpoint, and the directories of the stopped ones with --data"
        )
    first = with_map[0]
    for copy in with_map:
        if _cluster_of(copy) != _cluster_of(first):
            raise CannotRecover(
                f"{first.source} belongs to the cluster {_cluster_of(first)}, {copy.source} to"
                f" {_cluster_of(copy)}: name the nodes of one cluster only"
            )
    newest = max(with_map, key=_number)
    for copy in with_map:
        if _number(copy) == _number(newest) and copy.held != newest.held:
            raise CannotRecover(
                f"{newest.source} and {copy.source} hold two different maps of version {_number(newest)}."
                f" {_TWO_SIDES}"
            )
    return newest


def unread_of(held: ClusterMap, copies: Iterable[MapCopy]) -> list[NodeInfo]:
    """Return the nodes of a map, the dead ones aside, of which there is no whole copy."""
    read = {copy.node for copy in copies if copy.whole and copy.held is not None}
    return [node for node in held.nodes if node.state != NodeState.DEAD and node.id not in read]


def decode_map(payload: bytes, source: str) -> ClusterMap:
    """Return a map from its bytes. Raises CannotRecover, with their source, if they are not a map."""
    try:
        return mapcodec.decode(payload)
    except ProtocolError as error:
        raise CannotRecover(f"the cluster map of {source} cannot be read: {error}") from error


def _number(copy: MapCopy) -> MapVersion:
    return copy.held.version if copy.held is not None else MapVersion(0)


def _cluster_of(copy: MapCopy) -> str:
    assert copy.held is not None, "only of copies with a map"
    return f"{copy.held.cluster} ({copy.held.cluster_id})"


def _promised(copies: Iterable[MapCopy], partition: PartitionId) -> int:
    return max(copy.promised.get(partition, 0) for copy in copies)


# --- reasons to refuse ---------------------------------------------------------------------------------

_TWO_SIDES: Final = (
    "One cluster never makes two: ZooKeeper was wiped or restored once before, and two groups of nodes"
    " continued. Nothing was written. Decide which group's writes to keep, and leave out the other's nodes"
)


def _check_register(held: ClusterMap, register: ClusterMap | None) -> None:
    """Refuse if ZooKeeper holds another cluster's map, or one of this cluster that is new enough."""
    if register is None:
        return
    if (register.cluster, register.cluster_id) != (held.cluster, held.cluster_id):
        raise CannotRecover(
            f"ZooKeeper holds a map of another cluster, {register.cluster} ({register.cluster_id}); the nodes"
            f" belong to {held.cluster} ({held.cluster_id}). Check --zookeeper and --cluster. If a new"
            " cluster was formed there by mistake, stop its nodes and remove its znodes first"
        )
    if register.version == held.version and register != held:
        raise CannotRecover(
            f"ZooKeeper and the nodes hold two different maps of version {held.version}. {_TWO_SIDES}"
        )
    if register.version >= held.version:
        raise CannotRecover(
            f"no recovery is needed, and nothing was written: ZooKeeper holds map {register.version} of this"
            f" cluster, and no node that was read holds a newer one than {held.version}"
        )


def _check_one_line(maps: Iterable[ClusterMap]) -> None:
    """Refuse maps that cannot follow from each other: epochs never fall, and each has one holder."""
    for before, after in pairwise(sorted(maps, key=lambda each: each.version)):
        numbers = f"maps {before.version} and {after.version}"
        if len(before.partitions) != len(after.partitions):
            raise CannotRecover(f"{numbers} differ in the number of partitions, which never changes")
        for p, (old, new) in enumerate(zip(before.partitions, after.partitions, strict=True)):
            if not _may_follow(old, new):
                raise CannotRecover(
                    f"{numbers} contradict each other about partition {p} (epochs {old.epoch} and"
                    f" {new.epoch}). {_TWO_SIDES}"
                )


def _may_follow(old: Partition, new: Partition) -> bool:
    same_holder = (old.primary, old.incarnation) == (new.primary, new.incarnation)
    return new.epoch > old.epoch or (new.epoch == old.epoch and same_holder)


def _check_unread(held: ClusterMap, unread: Iterable[NodeInfo], without: Collection[str]) -> None:
    if strangers := sorted(set(without) - {node.name for node in held.nodes}):
        raise CannotRecover(f"map {held.version} names no node {', '.join(strangers)}; check --without")
    missing = [node for node in unread if node.name not in without]
    if missing:
        listed = ", ".join(f"{node.name} (http://{node.http})" for node in missing)
        raise CannotRecover(
            f"not every node of map {held.version} could be read: {listed}. Such a node may hold a newer"
            " map, or have acknowledged writes under it. Start it, or give its directory with --data. If it"
            f" is lost for good: {' '.join(f'--without {node.name}' for node in missing)}"
        )


def _warnings(held: ClusterMap, promised: Sequence[int], unread: Sequence[str]) -> Iterator[str]:
    if unread:
        yield (
            f"{', '.join(unread)} {'was' if len(unread) == 1 else 'were'} not read: there may be a newer map,"
            " and writes that were acknowledged under it. Such writes may be lost"
        )
    ahead = [p for p, part in enumerate(held.partitions) if promised[p] > part.epoch]
    if ahead:
        yield (
            f"in {len(ahead)} of the partitions (such as {ahead[0]}) there are promises above the epochs of"
            f" map {held.version}: there was a newer map, and no node that was read holds it"
        )
