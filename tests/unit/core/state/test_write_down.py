"""What is applied is written down late: nothing shows of it but fewer rows in the store."""

import pytest
from tests.support.core.parts import A, B, C, Host, a_part, a_promise, a_request, an_ack, map_of, to

from ringkeep.core.protocol.bounds import IN_USE, Bounds
from ringkeep.core.protocol.client_requests import Kind
from ringkeep.core.protocol.effects import Family
from ringkeep.core.protocol.messages import SnapshotOffer
from ringkeep.storage.memory import MemoryEngine

KEY = b"k"


def leader(engine: MemoryEngine | None = None, life: int = 1, bounds: Bounds = IN_USE) -> Host:
    """A primary whose log is committed as far as it goes."""
    host = Host(A, engine, life, bounds)
    host.take(map_of(a_part(), 7))
    host.sync()
    for peer in (B, C):
        host.hear(peer, a_promise())
    host.sync()
    commit(host)
    return host


def commit(host: Host) -> None:
    for peer in (B, C):
        host.hear(peer, an_ack(host.replica.log.last_index, host.primary.epoch))


def write(host: Host, times: int) -> None:
    for _ in range(times):
        host.hear(B, a_request(Kind.PUT, host.replica.log.last_index))
        host.sync()
        commit(host)
    assert host.replica.applied == host.replica.log.last_index


def rows(host: Host) -> int:
    begin, end = host.replica.live_range()
    return len(host.engine.scan(Family.DATA, begin, end, 100))


def test_a_row_is_read_before_it_is_written() -> None:
    host = leader()
    write(host, 3)
    assert (rows(host), host.replica.written) == (0, 0)
    assert host.replica.state.record(KEY) is not None


def test_so_many_bytes_are_written_together() -> None:
    host = leader(bounds=Bounds(unwritten_bytes=100))
    sizes = []
    for _ in range(6):
        write(host, 1)
        sizes.append(host.replica.written)
    assert len(set(sizes)) > 1, "some"
    assert len(set(sizes)) < 6, "and not each by itself"
    assert host.replica.state.unwritten_bytes <= 100


@pytest.mark.parametrize("unwritten", [-1, 100, 1 << 20])
def test_what_was_not_written_is_applied_again_after_a_restart(unwritten: int) -> None:
    bounds = Bounds(unwritten_bytes=unwritten)
    host = leader(bounds=bounds)
    write(host, 5)
    kept, sessions = host.replica.state.record(KEY), host.replica.state.sessions.encode()
    again = Host(A, host.engine, 2, bounds)
    assert again.replica.applied == host.replica.written
    again.replica.commit = again.replica.log.last_index
    again.turn(again.replica.apply)
    assert again.replica.state.record(KEY) == kept
    assert again.replica.state.sessions.encode() == sessions
    assert again.replica.state.data_bytes == host.replica.state.data_bytes


def test_the_log_is_not_cut_before_its_rows_are_written() -> None:
    host = leader(bounds=Bounds(log_entries=2))
    write(host, 12)
    floor = host.replica.log.floor_index
    assert 0 < floor <= host.replica.written
    assert rows(host) > 0


def test_a_snapshot_holds_what_is_applied() -> None:
    """It is opened once that is in the store; what is applied in the turn between is written in it, too."""
    host = leader()
    write(host, 3)
    replica = host.replica
    host.hear(B, a_request(Kind.PUT, 9))
    host.sync()
    host.turn(lambda: host.node.senders.want(replica, B, replica.promised.epoch))
    assert replica.written == 0
    left = host.hear(C, an_ack(5))
    assert to(B, SnapshotOffer, left) == []
    assert replica.written == replica.applied == 5
    assert [offer.last_index for offer in to(B, SnapshotOffer, host.turn())] == [5]
    write(host, 1)
    assert (replica.written, replica.applied) == (5, 6), "late again"


def test_two_peers_that_want_it_in_one_turn_get_what_is_stored() -> None:
    """The first has the rows written; they can be read in the next turn, also for the second."""
    host = leader()
    write(host, 3)
    replica = host.replica

    def want() -> None:
        for peer in (B, C):
            host.node.senders.want(replica, peer, replica.promised.epoch)

    host.turn(want)
    assert host.turn() == []
    left = host.turn()
    assert [len(to(peer, SnapshotOffer, left)) for peer in (B, C)] == [1, 1]


def test_what_was_written_in_this_turn_is_not_stored_yet() -> None:
    host = leader()
    write(host, 3)
    seen: list[bool] = []
    host.turn(host.replica.write_down, lambda: seen.append(host.replica.stored))
    host.turn(lambda: seen.append(host.replica.stored))
    assert seen == [False, True]


def test_de_duplication_is_never_ahead_of_the_rows() -> None:
    """Else a start would know of requests whose rows it lacks, and not apply them."""
    host = leader()
    write(host, 3)
    host.turn(host.replica.store_row)
    again = Host(A, host.engine, 2, IN_USE)
    assert again.replica.applied == host.replica.applied
    assert again.replica.state.record(KEY) == host.replica.state.record(KEY)
