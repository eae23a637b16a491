"""The map that is made when ZooKeeper lost the cluster's: its numbers, and when none is made."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringkeep.core.protocol.cluster_map import ClusterMap, NodeInfo, NodeState, Partition
from ringkeep.core.protocol.types import Epoch, Incarnation, MapVersion, NodeId, PartitionId
from ringkeep.recovery import AHEAD, CannotRecover, MapCopy, decode_map, newest_of, plan, unread_of
from ringkeep.wire import mapcodec

IDS = [NodeId(f"{n:032x}") for n in range(1, 5)]
A, B, C, D = IDS


def a_map(version: int = 7, epochs: tuple[int, ...] = (3, 4), **changes: object) -> ClusterMap:
    """Three nodes, two partitions; n1 leads both."""
    nodes = tuple(
        NodeInfo(node, f"n{n}", f"h{n}:8000", f"h{n}:8002", f"n{n}", 1, Incarnation(2))
        for n, node in enumerate((A, B, C), 1)
    )
    parts = tuple(Partition(Epoch(e), A, Incarnation(2), (A, B, C), MapVersion(1)) for e in epochs)
    return replace(ClusterMap(MapVersion(version), "shop", "id", 3, nodes, parts), **changes)  # type: ignore[arg-type]  # replace is untyped


def a_copy(
    node: NodeId, held: ClusterMap | None = None, promised: dict[int, int] | None = None, **more: bool
) -> MapCopy:
    found = {PartitionId(p): Epoch(e) for p, e in (promised or {}).items()}
    name = f"n{int(node, 16)}"
    return MapCopy(node, name, f"{name} (http://x)", held, found, **more)


def copies(*maps: ClusterMap | None) -> list[MapCopy]:
    return [a_copy(node, held) for node, held in zip(IDS, maps, strict=False)]


# --- what is made --------------------------------------------------------------------------------------


def test_the_newest_copy_goes_on_under_new_numbers() -> None:
    old, new = a_map(6, (3, 3)), a_map(7, (3, 4))
    recovery = plan(copies(old, new, old), None, ())
    made = recovery.next_map
    assert recovery.newest.name == "n2"
    assert (made.version, [part.epoch for part in made.partitions]) == (8, [4, 5])
    assert made == replace(new, version=made.version, partitions=made.partitions)
    for before, after in zip(new.partitions, made.partitions, strict=True):
        assert after == replace(before, epoch=after.epoch), "replicas, primary and config stay"
    assert (recovery.unread, recovery.warnings) == ((), ())


def test_a_joint_change_stays_under_way() -> None:
    joint = Partition(Epoch(9), A, Incarnation(2), (A, B, D), MapVersion(5), (A, B, C), None, None)
    learning = Partition(Epoch(9), A, Incarnation(2), (A, B, C), MapVersion(5), (), D, C)
    held = a_map(partitions=(joint, learning))
    made = plan(copies(held, held, held), None, ()).next_map
    assert made.partitions == (replace(joint, epoch=Epoch(10)), replace(learning, epoch=Epoch(10)))


def test_the_number_is_above_what_zookeeper_was_restored_to() -> None:
    restored = a_map(5, (2, 4))
    assert plan(copies(*[a_map(7)] * 3), restored, ()).next_map.version == 8


promises = st.dictionaries(st.integers(0, 1), st.integers(0, 2**40), max_size=2)


@given(
    epochs=st.lists(st.integers(1, 2**40), min_size=2, max_size=2).map(tuple),
    promised=st.lists(promises, min_size=3, max_size=3),
    stranger=promises,
    left_out=st.booleans(),
)
def test_every_number_rises_past_every_promise(
    epochs: tuple[int, ...], promised: list[dict[int, int]], stranger: dict[int, int], left_out: bool
) -> None:
    held = a_map(7, epochs)
    found = [a_copy(node, held, said) for node, said in zip((A, B, C), promised, strict=True)]
    found.append(
        a_copy(D, None, stranger)
    )  # no node of the map, or one that has left: it counts all the same
    made = plan(found[left_out:], None, ["n1"] if left_out else []).next_map
    assert made.version > held.version
    for p, part in enumerate(made.partitions):
        assert part.epoch > epochs[p]
        assert all(part.epoch > said.get(p, 0) for said in (*promised[left_out:], stranger))
    assert mapcodec.decode(mapcodec.encode(made)) == made


def test_a_promise_above_the_map_is_odd_and_said() -> None:
    found = copies(*[a_map(7)] * 3)
    found[1] = a_copy(B, a_map(7), {1: 9})
    recovery = plan(found, None, ())
    assert [part.epoch for part in recovery.next_map.partitions] == [4, 10]
    [warning] = recovery.warnings
    assert "in 1 of the partitions (such as 1)" in warning and "map 7" in warning


# --- nodes that were not read ----------------------------------------------------------------------------


def test_a_node_that_was_not_read_has_to_be_named() -> None:
    found = copies(a_map(7), a_map(7))
    with pytest.raises(CannotRecover, match=r"n3 \(http://h3:8000\).*--without n3"):
        plan(found, None, ())
    with pytest.raises(CannotRecover, match="names no node n9"):
        plan(found, None, ["n3", "n9"])
    recovery = plan(found, None, ["n3"])
    assert recovery.unread == ("n3",)
    [warning] = recovery.warnings
    assert "n3 was not read" in warning and "may be lost" in warning


def test_what_an_unread_node_may_hold_is_left_far_behind() -> None:
    """Its map may be some steps newer: neither a number nor an epoch of it may be given out twice."""
    made = plan(copies(a_map(7), a_map(7)), None, ["n3"]).next_map
    assert made.version == 7 + AHEAD
    assert [part.epoch for part in made.partitions] == [3 + AHEAD, 4 + AHEAD]


def test_the_dead_need_not_be_read() -> None:
    nodes = a_map().nodes
    held = a_map(nodes=(*nodes[:2], replace(nodes[2], state=NodeState.DEAD)))
    assert plan(copies(held, held), None, ()).unread == ()


@pytest.mark.parametrize("broken", [a_copy(C, a_map(7), whole=False), a_copy(C, None)])
def test_a_store_that_lost_something_counts_as_not_read(broken: MapCopy) -> None:
    found = [*copies(a_map(7), a_map(7)), broken]
    assert [node.name for node in unread_of(a_map(7), found)] == ["n3"]
    with pytest.raises(CannotRecover, match="--without n3"):
        plan(found, None, ())


def test_what_is_left_of_a_broken_store_counts() -> None:
    found = [*copies(a_map(7), a_map(7)), a_copy(C, a_map(9, (5, 5)), {0: 8}, whole=False)]
    made = plan(found, None, ["n3"]).next_map
    assert made.version == 9 + AHEAD
    assert [part.epoch for part in made.partitions] == [8 + AHEAD, 5 + AHEAD]


# --- refusals ------------------------------------------------------------------------------------------

Case = Callable[[], object]
OTHER_LEADER = replace(a_map(7).partitions[0], primary=B)

REFUSALS: dict[str, tuple[list[MapCopy], ClusterMap | None]] = {
    "no copy of a cluster map": (copies(None, None), None),
    r"belongs to the cluster shop \(id\), n2 .* to shop \(other\)": (
        copies(a_map(7), a_map(8, cluster_id="other")), None,
    ),
    "two different maps of version 7": (copies(a_map(7), a_map(7, (3, 5)), a_map(7)), None),
    "maps 6 and 7 contradict each other about partition 1": (
        copies(a_map(7), a_map(6, (3, 5)), a_map(7)), None,
    ),
    "maps 6 and 7 contradict each other about partition 0": (
        copies(a_map(7), a_map(6, partitions=(OTHER_LEADER, a_map().partitions[1]))), None,
    ),
    "number of partitions": (copies(a_map(7), a_map(6, (1,)), a_map(7)), None),
    "map of another cluster": (copies(*[a_map(7)] * 3), a_map(1, cluster_id="new")),
    "nothing was written: ZooKeeper holds map 7": (copies(a_map(7), a_map(6), a_map(7)), a_map(7)),
    "nothing was written: ZooKeeper holds map 8": (copies(*[a_map(7)] * 3), a_map(8, (4, 5))),
    "ZooKeeper and the nodes hold two different maps of version 7": (
        copies(*[a_map(7)] * 3), a_map(7, (3, 5)),
    ),
    "maps 5 and 7 contradict": (copies(*[a_map(7)] * 3), a_map(5, (3, 9))),
}  # fmt: skip


@pytest.mark.parametrize("says", REFUSALS)
def test_when_nothing_is_made(says: str) -> None:
    found, register = REFUSALS[says]
    with pytest.raises(CannotRecover, match=says):
        plan(found, register, ())


def test_the_newest_copy_is_named_by_its_source() -> None:
    assert newest_of([a_copy(D, None), *copies(a_map(6), a_map(7))]).source == "n2 (http://x)"


def test_bytes_that_are_no_map() -> None:
    assert decode_map(mapcodec.encode(a_map()), "n1") == a_map()
    with pytest.raises(CannotRecover, match="of n1 cannot be read"):
        decode_map(b"\x02nonsense", "n1")
