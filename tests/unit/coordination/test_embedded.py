"""The coordination of a node that is alone: what is told is kept, whatever ends when."""

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.coordination.embedded_world import EmbeddedWorld
from tests.support.coordination.world import a_member, formed

from ringkeep.admission import Mark
from ringkeep.coordination.embedded import EmbeddedService
from ringkeep.core.protocol.types import Incarnation
from ringkeep.errors import ConfigurationError
from ringkeep.ports import NO_MARK

NODE = a_member(1).id
MARK = Mark(Incarnation(1), "a", 7)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[EmbeddedWorld]:
    made = EmbeddedWorld(tmp_path)
    yield made
    made.close()


def test_map_and_marks_are_there_after_the_process_members_and_barrier_are_not(world: EmbeddedWorld) -> None:
    a = world.node()
    formed(world, a)
    a.port.write_mark(NODE, NO_MARK, MARK)
    a.port.write_map(0, b"two")
    world.until(lambda: a.last("map") == (1, b"two") and a.last("mark") == (0, MARK), "both writes")
    world.start_service()
    b = world.node()
    world.until(lambda: b.last("members") is not None, "everything to be told")
    assert (b.last("map"), b.last("barrier"), b.last("members")) == ((1, b"two"), False, [])
    b.port.read_mark(NODE)
    world.until(lambda: b.last("mark") == (0, MARK), "the mark")


def test_nothing_is_told_of_a_change_before_it_is_kept(world: EmbeddedWorld) -> None:
    a, b = world.node(), world.node()
    formed(world, a, b)
    told = len(a.events), len(b.events)
    save, refused = world.save, list[bytes]()

    def refuse(content: bytes) -> None:
        refused.append(content)
        raise OSError(errno.ENOSPC, "No space left on device")

    world.save = refuse
    a.port.write_map(0, b"two")
    b.port.read_mark(NODE)
    world.until(lambda: "No space left" in a.port.trouble, "the trouble")
    assert refused and (len(a.events), len(b.events)) == told, "neither the writer nor another one"
    world.save = save
    world.until(lambda: a.last("written") is True and b.last("map") == (1, b"two"), "the write")
    world.until(lambda: b.last("mark") == (NO_MARK, None), "what came behind it")
    assert a.port.trouble == ""


def test_the_last_mark_replaces_an_earlier_one_of_its_life_only(world: EmbeddedWorld) -> None:
    a = world.node()
    a.port.write_mark(NODE, NO_MARK, MARK)
    last = Mark(MARK.incarnation, MARK.life, 9)
    assert world.loop.run_until_complete(a.port.leave_mark(NODE, NO_MARK, last))
    other = Mark(Incarnation(2), "b", 1)
    assert not world.loop.run_until_complete(a.port.leave_mark(NODE, NO_MARK, other))
    assert world.service.marks[NODE] == (1, last)
    world.stop(a)
    world.start_service()
    assert world.service.marks[NODE] == (1, last)


def test_a_service_that_cannot_write_ends_by_its_deadline(world: EmbeddedWorld) -> None:
    a = world.node()

    def refuse(content: bytes) -> None:
        raise OSError(errno.EIO, "Input/output error")

    world.save = refuse
    assert not world.loop.run_until_complete(a.port.leave_mark(NODE, NO_MARK, MARK, deadline_s=0.05))
    assert not world.loop.run_until_complete(a.port.stop(deadline_s=0.05))
    assert not world.path.exists()


@pytest.mark.parametrize(
    ("kept", "why"),
    [
        (b"", "changed by hand"),
        (b"\xff", "changed by hand"),
        (b'{"format":1}', "changed by hand"),
        (b'{"format":2,"map_version":0,"map":null,"marks":{}}', "format 2"),
    ],
)
def test_what_is_not_a_map_and_marks_is_refused(world: EmbeddedWorld, kept: bytes, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        EmbeddedService(kept, world.save, world.loop)
