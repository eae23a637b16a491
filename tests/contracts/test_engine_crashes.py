"""What a crash leaves of the engine: one statement, held by the engine in memory and by RocksDB.

Everything that was flushed is there, and what is there of the rest is a prefix, in the order of the writes.
If something that was flushed is gone, the next process says `damaged`.
"""

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from tests.support.storage.engine_machines import Found, Machine, MemoryMachine, RocksMachine
from tests.support.storage.engine_process import state_after


@pytest.fixture(params=["memory", "rocks"])
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Machine]:
    made: Machine = MemoryMachine() if request.param == "memory" else RocksMachine(tmp_path / "node")
    made.start()
    yield made
    made.close()


def whole(found: Found) -> int:
    """Check that the rows are those of the first writes, each whole, and return how many."""
    assert found.rows == state_after(found.number), f"not the first {found.number} writes"
    return found.number


def after_a_crash(machine: Machine) -> int:
    """Start again; check the statement; return how many writes are there."""
    flushed, written = machine.flushed, machine.written
    found = machine.start()
    assert not found.damaged
    assert flushed <= whole(found) <= written
    return found.number


def test_a_process_killed_at_its_work_leaves_what_it_flushed_and_a_prefix_of_the_rest(
    machine: Machine,
) -> None:
    for _ in range(3):  # the next life goes on where the last one ended
        machine.be_busy(flushes=15)
        machine.kill()
        after_a_crash(machine)


def test_a_process_killed_when_it_has_filled_its_write_buffers(machine: Machine) -> None:
    for _ in range(3):
        machine.write(1_000)  # half a write buffer of the log's family, and the file that goes with it
        machine.flush()
    machine.be_busy(flushes=3)
    machine.kill()
    assert after_a_crash(machine) >= 3_000


def test_a_killed_process_leaves_even_what_it_did_not_flush(machine: Machine) -> None:
    machine.write(30)
    machine.flush()
    machine.write(7)
    machine.kill()
    assert after_a_crash(machine) == 37


@pytest.mark.parametrize("harm", ["cut", "zeros", "garbage", "old mark"])
def test_a_power_loss_leaves_what_was_flushed_and_a_prefix_of_the_rest(machine: Machine, harm: str) -> None:
    machine.write(10)
    for part in (0.0, 0.37, 0.9):
        machine.flush()
        machine.write(20)
        machine.lose_power(part, harm)
        after_a_crash(machine)
        machine.write(5)


def test_a_power_loss_at_its_worst_leaves_exactly_what_was_flushed(machine: Machine) -> None:
    machine.write(12)
    machine.flush()
    machine.write(9)
    machine.lose_power(0.0)
    assert after_a_crash(machine) == 12
    machine.write(3)  # in the life after, nothing is flushed at all
    machine.lose_power(0.0)
    assert after_a_crash(machine) == 12


def test_a_flush_answers_for_no_more_than_was_written_when_it_began(machine: Machine) -> None:
    for number in (6, 12):
        machine.write(6)
        machine.flush(meanwhile=4)
        assert machine.flushed == number
        machine.lose_power(0.0)
        assert after_a_crash(machine) == number
    for _ in range(2):
        machine.be_busy(flushes=10)
        machine.lose_power(0.0)
        after_a_crash(machine)


def test_what_a_restart_finds_is_durable(machine: Machine) -> None:
    machine.write(10)
    machine.flush()
    machine.write(10)
    machine.kill()  # with the operating system, but on no disk
    assert after_a_crash(machine) == 20
    machine.lose_power(0.0)
    assert after_a_crash(machine) == 20


@pytest.mark.parametrize("lost", [1, 10])
def test_a_loss_of_what_was_flushed_is_noticed_and_stays_noticed(machine: Machine, lost: int) -> None:
    for _ in range(20):
        machine.write(1)
        machine.flush()
    machine.write(4)
    machine.lose_synced(lost)
    found = machine.start()
    assert found.damaged
    assert whole(found) == 20 - lost, "a prefix also then"
    machine.write(5)
    machine.flush()
    machine.kill()
    found = machine.start()
    assert found.damaged, "it outlives the next crash"
    assert whole(found) == 25 - lost
    machine.clear_damaged()
    assert not machine.look().damaged
    machine.lose_power(0.0)
    assert after_a_crash(machine) == 25 - lost


def live(machine: Machine, random: Random) -> None:
    """One life after another; each ends in a crash of some kind."""
    for _ in range(6):
        for _ in range(random.randint(0, 4)):
            machine.write(random.randint(0, 12))
            if random.random() < 0.6:
                machine.flush(random.choice([0, 0, 3]))
        if random.random() < 0.3:
            machine.be_busy(random.randint(1, 5))
        if random.random() < 0.4:
            machine.kill()
        else:
            machine.lose_power(random.random(), random.choice(["cut", "zeros", "garbage", "old mark"]))
        after_a_crash(machine)


def test_many_lives_and_crashes(machine: Machine) -> None:
    live(machine, Random(1))


@pytest.mark.parametrize("seed", range(20))
def test_many_lives_and_crashes_in_memory(seed: int) -> None:
    machine = MemoryMachine(seed)
    machine.start()
    live(machine, Random(seed))
