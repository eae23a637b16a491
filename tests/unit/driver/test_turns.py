"""The driver's order of effects: nothing overtakes a refused batch, nothing is settled before its sync."""

import pytest
from tests.support.driver.world import World

from ringkeep.core.protocol.client_requests import Kind, Request
from ringkeep.core.protocol.effects import Batch, Family
from ringkeep.errors import StorageError, StorageStalled


def test_one_turn_is_one_batch_one_sync_and_one_frame() -> None:
    world = World()
    assert world.submit("a", "b") == [
        "core a", "core b", "write a b", "sync 1", "send a b", "answer a", "answer b",
    ]  # fmt: skip
    assert world.synced(1) == ["durable a", "durable b"]


def test_a_sync_settles_only_what_was_written_before_it_began() -> None:
    world = World()
    world.submit("a")
    world.submit("b")
    world.submit("c")
    assert world.synced(1) == ["durable a"]
    assert world.synced(3) == ["durable b", "durable c"]
    assert world.synced(3) == []


def test_what_waits_for_a_batch_that_is_durable_already_is_settled_at_once() -> None:
    world = World()
    world.submit("a")
    world.synced(1)
    world.event(lambda: world.core.durable.calls.append(lambda: world.seen.append("durable")))
    assert world.look() == ["durable"], "nothing new was written"


def test_nothing_overtakes_a_refused_batch() -> None:
    world = World()
    world.engine.stall_next(2)
    assert world.submit("a") == ["core a", "write a"], "neither sent nor answered"
    assert world.submit("b") == []
    assert world.synced(0) == []
    assert not world.driver.at_rest
    world.timers.pop()()
    assert world.look() == ["write a"], "refused again: b still waits"
    world.timers.pop()()
    assert world.look() == [
        "write a", "sync 1", "send a", "answer a", "core b", "write b", "sync 2", "send b", "answer b",
    ]  # fmt: skip
    assert world.driver.at_rest
    assert world.engine.get(Family.META, b"b") == b""


def test_events_behind_a_second_refusal_keep_their_order() -> None:
    world = World()
    world.engine.stall_next(1)
    world.submit("a")
    world.submit("b")
    world.submit("c")
    world.timers.pop()()
    assert [line for line in world.look() if line.startswith(("core", "write"))] == [
        "write a", "core b", "core c", "write b c",
    ]  # fmt: skip


def test_a_failed_sync_is_final() -> None:
    world = World()
    world.submit("a")
    world.driver.disk_failed(StorageError("no"))
    (line,) = world.look()
    assert line.startswith("stop disk: the disk failed, nothing more is acknowledged: no")
    world.driver.synced(1)
    assert world.look() == [], "nothing is acknowledged any more"
    assert world.submit("b") == []
    assert not world.driver.serving


@pytest.mark.parametrize("error", [StorageError("no"), StorageStalled("not now")], ids=["final", "stalled"])
def test_a_batch_that_was_not_written_is_neither_sent_nor_answered(error: Exception) -> None:
    world = World()

    def refuse(batch: Batch) -> int:
        raise error

    world.engine.write = refuse  # type: ignore[method-assign]
    seen = world.submit("a")
    assert seen[0] == "core a"
    assert [line[:27] for line in seen[1:]] == (
        ["stop disk: the disk failed,"] if type(error) is StorageError else []
    )


def test_a_defect_ends_the_node_before_anything_of_its_turn_is_carried_out() -> None:
    world = World()

    def broken() -> None:
        world.core.submit(Request(Kind.PUT, b"a"))
        raise KeyError("a bug")

    with pytest.raises(KeyError):
        world.event(broken)
    seen = world.look()
    assert seen[0] == "core a"
    assert seen[1].startswith("stop failed: a defect")
    assert len(seen) == 2


def test_a_defect_as_a_turn_begins_ends_the_node_too() -> None:
    """It was outside of what is guarded: no turn ever ended again, and the process stayed, saying nothing."""
    world = World()

    def broken(now: int) -> None:
        raise KeyError("a bug")

    world.core.begin_turn = broken  # type: ignore[method-assign]
    with pytest.raises(KeyError):
        world.event(lambda: None)
    seen = world.look()
    assert len(seen) == 1 and seen[0].startswith("stop failed: a defect")
