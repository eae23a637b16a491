"""What the simulator asks of a node that knows that its disk has no room: it appends nothing but as one that
takes over."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from tests.support.core.parts import NAMES, A, B, C, Host, P, a_part, a_promise, map_of, some_entries

from ringkeep.core.protocol.effects import Batch
from ringkeep.core.protocol.hot_messages import Append
from ringkeep.core.protocol.messages import Message
from ringkeep.core.protocol.types import Epoch, Index, NodeId
from ringkeep.sim.checks.disk_rules import KNOWN_AFTER, DiskRules
from ringkeep.sim.errors import Violated
from ringkeep.storage.memory import MemoryEngine


class Recorded(MemoryEngine):
    """A store of which the rules see each batch."""

    def __init__(self, rules: DiskRules) -> None:
        super().__init__()
        self._rules = rules

    def write(self, batch: Batch) -> int:
        self._rules.on_write(batch)
        return super().write(batch)


class NodeWithoutRoom(Host):
    """A node under the rules, which has known for long that its disk has no room."""

    def __init__(self, me: NodeId) -> None:
        driver = SimpleNamespace(node=None, _stuck=None, _asked=0, _synced=0, unsynced=0)
        machine: Any = SimpleNamespace(name=NAMES[me], driver=driver, free=0, hangs=False)
        self.rules = DiskRules(machine)
        super().__init__(me, Recorded(self.rules))
        driver.node = self.node
        for _ in range(KNOWN_AFTER):
            self.rules.on_tick(10)

    def turn(self, *events: Callable[[], object]) -> list[tuple[NodeId, Message]]:
        said = super().turn(*events)
        self.rules.after_turn()
        return said


def test_one_that_takes_over_may_begin_its_epoch_also_if_it_is_deposed_in_that_turn() -> None:
    host = NodeWithoutRoom(A)
    host.take(map_of(a_part(A), 8))
    host.sync()
    deposing = host.takes(map_of(a_part(B, epoch=Epoch(4)), 9))
    host.turn(host.hears(B, a_promise()), host.hears(C, a_promise()), deposing)
    assert host.replica.primary is None
    assert host.replica.log.last_index == 1, "the entry of its epoch is there"


@pytest.mark.parametrize("led", [False, True])
def test_a_backup_appends_nothing_whether_or_not_it_has_led(led: bool) -> None:
    host = NodeWithoutRoom(A)
    if led:
        host.take(map_of(a_part(A), 8))
        host.sync()
    host.take(map_of(a_part(B, epoch=Epoch(4)), 9))
    entries = Append(P, Epoch(4), Epoch(0), Index(0), Index(0), some_entries(4, 1, 1))
    with pytest.raises(Violated, match="has no room, and appends"):
        host.hear(B, entries)
