"""What the simulator takes an older copy of a disk to hold, and what it asks of who runs on one."""

import pytest
from tests.support.core.parts import A, B, P, a_map, a_part

from ringkeep.core.protocol.effects import Batch
from ringkeep.core.protocol.hot_messages import Acks
from ringkeep.core.protocol.keys import log_key
from ringkeep.core.protocol.messages import Message
from ringkeep.core.protocol.rows import FRESH, encode_replica, replica_key
from ringkeep.core.protocol.types import Epoch, Incarnation, Index
from ringkeep.sim.checks.invariants import Invariants
from ringkeep.sim.errors import Violated
from ringkeep.sim.world.disk_copy import DiskCopy
from ringkeep.sim.world.world import World
from ringkeep.storage.memory import MemoryEngine


def disk(floor: int, *entries: int) -> DiskCopy:
    """A disk with such a log window."""
    batch = Batch()
    row = FRESH._replace(floor_epoch=Epoch(1), floor_index=Index(floor), sessions_index=Index(floor))
    batch.meta[replica_key(P)] = encode_replica(row)
    batch.log.update((log_key(P, Index(index)), b"entry") for index in entries)
    engine = MemoryEngine()
    engine.write(batch)
    return DiskCopy(A, Incarnation(1), "cluster", (), engine)


def test_a_log_ends_with_its_last_entry() -> None:
    assert disk(7, 8, 9).log_end(P) == 9


def test_a_log_of_which_all_was_trimmed_ends_where_its_window_begins() -> None:
    assert disk(8).log_end(P) == 8, "entry 8 is applied, and held"


def test_a_disk_without_the_replica_holds_nothing() -> None:
    assert DiskCopy(A, Incarnation(1), "cluster", (), MemoryEngine()).log_end(P) == 0


def test_an_old_copy_is_not_filled_up_while_a_primary_remembers_more_of_it() -> None:
    world = World(1)
    invariants = Invariants(world)
    node = next(iter(world.nodes.values()))
    place = a_map(a_part(A, (A, B, node.id)))
    without = a_map(a_part(A, (A, B)), version=8)
    acks: list[Message] = [Acks([P, 3, 5])]
    invariants.on_old_copy(node, [(P, Epoch(3))])
    invariants.check_step(place, place)
    with pytest.raises(Violated, match="filled up again"):
        invariants.on_send(node, acks)
    invariants.check_step(place, without)
    invariants.on_send(node, acks)  # as a learner, from nothing: nobody counts it
