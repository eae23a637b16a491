"""The model checker: small bounds are explored to their end, and deliberate breaks are found, with a story.

`make model` explores more. That what is left out of a state does not matter is checked here too.
"""

from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from tests.sim.mutants import OF_REPLICAS, patched, together
from tests.sim.mutants_map import OF_THE_MAP
from tests.sim.mutants_requests import OF_REQUESTS

from ringkeep.core.cluster.replica_changes import ChangeProgress
from ringkeep.core.protocol.effects import Batch, Family
from ringkeep.core.protocol.messages import Release
from ringkeep.core.replication.primary import Primary
from ringkeep.core.replication.replica_set import ReplicaSet
from ringkeep.sim.model import maps, projection
from ringkeep.sim.model.__main__ import main
from ringkeep.sim.model.bounds import CONFIGURATIONS, ModelBounds
from ringkeep.sim.model.disk import ModelDisk
from ringkeep.sim.model.explore import Explorer
from ringkeep.sim.model.layout import State
from ringkeep.sim.model.local_states import LocalState
from ringkeep.sim.model.machine import NUMBERS
from ringkeep.sim.model.story import story_of
from ringkeep.storage.memory import MemoryEngine

pytestmark = [pytest.mark.sim, pytest.mark.plain]

SMALL = {
    "a change of primary": ModelBounds(epochs=2, reads=1),
    "a restart": ModelBounds(epochs=2, crashes=1),
    "a broken connection": ModelBounds(puts=1, cuts=1, commits=True, applies=True),
    "a copy of a write": ModelBounds(epochs=2, puts=1, again=1, split=True),
    "taking over": ModelBounds(epochs=2, fresh=True),
    "a replacement, there and back": ModelBounds(spare=1, steps=3),
    "a replacement under a new primary": ModelBounds(voters=2, spare=1, epochs=2, steps=2),
}
TAKEN = {
    "append_refused_epoch", "became_active", "deposed", "deposed_by_refusal", "duplicate_answered",
    "duplicate_waits", "joint_begun", "replica_deleted", "suffix_cut", "tail_fetched",
}  # fmt: skip
"""Paths of the core that even these take."""


def test_small_bounds_are_exhausted_and_every_invariant_holds() -> None:
    taken: set[str] = set()
    for name, bounds in SMALL.items():
        explorer = Explorer(bounds)
        report = explorer.run()
        told = "\n".join(story_of(bounds, report.story))
        assert not report.violation, f"{name}: {report.violation}\n{told}"
        assert report.exhausted, name
        assert report.states > 100, f"{name}: hardly anything can happen"
        assert report.rests, f"{name}: it always comes to rest"
        taken |= set(explorer.world.locals.counters)
    assert taken >= TAKEN, f"never taken: {TAKEN - taken}"


# --- deliberate breaks ---------------------------------------------------------------------------------


def joint_forgotten() -> Any:
    """The controller writes the new voters at once, without the joint step, and nobody minds."""

    def make(step_on: Any) -> Any:
        def mutant(part: Any, version: Any, progress: Any, *rest: Any) -> Any:
            joint = step_on(part, version, progress, *rest)
            return joint if joint is None or not joint.old_voters else step_on(joint, version, SETTLED, *rest)

        return mutant

    return together(patched(maps, "step_on", make), patched(maps, "illegal", lambda _: lambda old, new: ""))


SETTLED = ChangeProgress(settled=True)


def barrier_forgotten() -> Any:
    """A joint change is settled as soon as the primary knows of it, whatever the new voters hold."""
    return patched(Primary, "settled", lambda _: property(lambda self: bool(self.place.old_voters)))


def released_by_anybody() -> Any:
    """Who asks for leave to delete a replica is given it by any primary, and takes it without a look."""

    def surplus(_: Any) -> Any:
        def mutant(self: ReplicaSet, peer: Any, message: Any) -> None:
            replica = self.replicas.get(message.partition)
            if replica is not None and replica.primary is not None:
                self._context.send(peer, Release(message.partition, replica.primary.epoch, message.config))

        return mutant

    def release(_: Any) -> Any:
        def mutant(self: ReplicaSet, message: Any) -> None:
            replica = self.replicas.pop(message.partition, None)
            if replica is not None:
                self._deleted[message.partition] = None
                replica.delete()

        return mutant

    return together(patched(ReplicaSet, "on_surplus", surplus), patched(ReplicaSet, "on_release", release))


Break = tuple[Callable[[], Any], ModelBounds, str]

BREAKS: dict[str, Break] = {
    "ack before fsync": (OF_REPLICAS["ack before fsync"], ModelBounds(puts=1), "durable only on"),
    "own copy counted unsynced": (
        OF_REPLICAS["own copy counted unsynced"],
        ModelBounds(puts=1),
        "durable only on",
    ),
    "older entry committed by count": (
        OF_REPLICAS["older entry committed by count"],
        ModelBounds(epochs=3, puts=1),
        "could begin an epoch without a committed entry",
    ),
    "promise answered before the sync": (
        OF_REPLICAS["promise answered before the sync"],
        ModelBounds(fresh=True),
        "rests on a promise not durable",
    ),
    "promise not persisted": (
        OF_REPLICAS["promise not persisted"],
        ModelBounds(fresh=True),
        "rests on a promise not durable",
    ),
    "repeated Prepare answered early": (
        OF_REPLICAS["repeated Prepare answered early"],
        ModelBounds(epochs=2, cuts=1),
        "rests on a promise not durable",
    ),
    "read without Confirm": (
        OF_REQUESTS["read without Confirm"],
        ModelBounds(epochs=2, puts=1, reads=1),
        "was told before it began",
    ),
    "learner counted": (
        OF_THE_MAP["learner counted"],
        ModelBounds(spare=1, steps=1, puts=1),
        "durable only on",
    ),
    "replica deleted early": (
        OF_THE_MAP["replica deleted early"],
        ModelBounds(spare=1, steps=2, puts=1),
        "could begin an epoch without a committed entry",
    ),
    "promise deleted with the replica": (
        OF_REPLICAS["promise deleted with the replica"],
        ModelBounds(voters=2, spare=1, epochs=2, steps=3),
        "a promise never decreases",
    ),
    "de-duplication not replayed at start": (
        OF_REQUESTS["de-duplication not replayed at start"],
        ModelBounds(epochs=2, puts=1, crashes=1),
        "not what the log says",
    ),
    "joint step forgotten": (joint_forgotten, ModelBounds(spare=1, steps=2, puts=1), "committed"),
    "barrier forgotten": (barrier_forgotten, ModelBounds(voters=2, spare=1, steps=3), "durable only on"),
}


@pytest.mark.parametrize("name", BREAKS)
def test_a_deliberate_break_is_found_with_the_way_to_it(name: str) -> None:
    mutant, bounds, what = BREAKS[name]
    with mutant():
        report = Explorer(bounds).run()
        story = "\n".join(story_of(bounds, report.story))
    assert report.violation, f"{report.states} states, and nothing is wrong"
    assert what in report.violation, f"something else is wrong: {report.violation}\n{story}"
    assert len(report.story) == len(report.depths), "no way there is shorter"
    assert f"{len(report.story):>4}  " in story, "every move is told"


def test_a_story_says_who_says_what_and_where_everybody_stands() -> None:
    with OF_REPLICAS["ack before fsync"]():
        report = Explorer(ModelBounds(puts=1)).run()
        story = story_of(report.bounds, report.story)
    assert story[0] == "   1  n1 is asked for write 1"
    assert "      n1 -> n2  Append epoch 1: after 1/1: 1/2:put1; commit 1" in story[1:3]
    assert any(
        line.startswith("      n1 promised 1 of n1, log 1/1:noop 1/2:put1 (durable: 1/1:noop)")
        for line in story
    )
    assert "n1 takes from n" in story[-1] or "n1 has synced" in story[-1] or "answers" in story[-1]


# --- what a state is -----------------------------------------------------------------------------------


def test_every_field_is_told_apart_or_left_out_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[type, set[str]] = {}
    original = projection.fields_of

    def noted(value: Any, names: Any) -> Any:
        slots = {name for owner in type(value).__mro__ for name in getattr(owner, "__slots__", ())}
        seen.setdefault(type(value), set()).update(slots | set(getattr(value, "__dict__", {})))
        return original(value, names)

    monkeypatch.setattr(projection, "fields_of", noted)
    monkeypatch.setattr(projection, "walkers", {})
    Explorer(ModelBounds(epochs=2, puts=1, reads=1)).run(states=500)
    assert set(seen) == set(projection.FIELDS), "these, and no others, are looked into"
    for kind, found in seen.items():
        table = projection.FIELDS[kind]
        named = [*table.whole, *table.out, *table.part]
        assert found == set(named), f"{kind.__name__}: new or gone: {found ^ set(named)}"
        assert all(table.out.values()), "each with a reason"
        assert set(table.unordered) <= set(table.whole)


@pytest.mark.parametrize(
    "bounds", [ModelBounds(epochs=2, reads=1), ModelBounds(crashes=1, puts=1)], ids=ModelBounds.spell
)
def test_what_counts_as_one_state_loses_nothing(bounds: ModelBounds) -> None:
    """Without the reductions more states are seen, and nothing else that an invariant could look at."""
    few, many = ways_to_stand(bounds, reduced=True), ways_to_stand(bounds, reduced=False)
    assert few == many
    assert len(few) > 50


def ways_to_stand(bounds: ModelBounds, reduced: bool) -> set[Any]:
    """Return everything that the invariants look at, in every state; backups may change their names."""
    explorer = Explorer(bounds, reduced)
    world, found = explorer.world, set()

    def note(state: State) -> None:
        nodes, committed = world.nodes_of(state), world.pasts.things[state[world.layout.past]].committed
        found.add((committed, min(standing(nodes, names) for names in ((0, 1, 2), (0, 2, 1)))))

    world.check = note  # type: ignore[method-assign]
    assert explorer.run().exhausted
    return found


def standing(nodes: list[LocalState], names: tuple[int, ...]) -> tuple[Any, ...]:
    """Say where the nodes stand, once they are renamed."""
    renamed = [(names[each.node], each) for each in nodes]
    return tuple(
        (name, each.logs, each.safe, each.commit, each.promised.epoch, each.promised.incarnation,
         names[NUMBERS[each.promised.node]] if each.promised.epoch else -1, each.primary, each.active)
        for name, each in sorted(renamed, key=lambda pair: pair[0])
    )  # fmt: skip


def test_the_disk_is_the_simulators_engine_in_small() -> None:
    for seed in range(30):
        random, disk, engine = Random(seed), ModelDisk(), MemoryEngine()
        for _ in range(25):
            match random.choice(("write", "write", "write", "sync", "crash")):
                case "write":
                    batch = a_batch(random)
                    if batch:
                        disk.write(batch)
                        engine.write(batch)
                case "sync":
                    batches = random.randint(0, disk.unsynced)
                    disk.sync(batches)
                    engine.make_durable(engine.written - engine.unsynced + batches)
                case "crash":
                    keep = random.randint(0, disk.unsynced)
                    image = disk.images()[keep]
                    disk.crash(keep)
                    engine.crash(keep)
                    engine = engine.reopen()
                    assert image == disk.images()[0], "what a crash leaves was known before"
            assert disk.unsynced == engine.unsynced
            for family in Family:
                assert disk.scan(family, b"", b"\xff", 99) == engine.scan(family, b"", b"\xff", 99)
                assert disk.get(family, b"3") == engine.get(family, b"3")


def a_batch(random: Random) -> Batch:
    """Make a batch that changes something: rows put and deleted, and sometimes a range."""
    batch = Batch()
    for rows in (batch.meta, batch.log, batch.data):
        for _ in range(random.randint(0, 2)):
            rows[b"%d" % random.randint(0, 6)] = random.choice((None, b"%d" % random.randint(0, 99)))
    if random.random() < 0.3:
        batch.ranges.append((random.choice(list(Family)), b"2", b"5"))
    return batch


# --- the command ---------------------------------------------------------------------------------------


def test_the_command_says_what_it_saw(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--puts", "1", "--verbose"]) == 0
    said = capsys.readouterr().out
    assert "bounds: --puts 1\n" in said
    assert "32 states at depths up to 8" in said and "exhausted" in said
    assert "every invariant held in every state" in said


def test_the_command_fails_when_something_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    with OF_REPLICAS["ack before fsync"]():
        assert main(["--puts", "1"]) == 1
    said = capsys.readouterr().out
    assert "VIOLATED: entry 2 is committed, and durable only on: " in said
    assert "n1 is asked for write 1" in said


def test_the_configurations_differ_and_have_names() -> None:
    assert len(set(CONFIGURATIONS.values())) == len(CONFIGURATIONS) >= 8
    with pytest.raises(SystemExit, match="no such configuration: nonsense"):
        main(["nonsense"])
