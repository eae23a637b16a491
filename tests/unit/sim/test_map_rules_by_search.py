"""Which map may follow which, by first principles and for maps of any kind; and the controller keeps to it.

`test_map_rules.py` has the single cases, each with its words. Here: all steps between all states of a
small partition, held against the steps of the design and against majorities; maps drawn at random, changed
lawfully in many places at once and then wrongly in one; and whatever the controller makes of a random world.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations, permutations
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringkeep.core.cluster.observations import Observations, Statement
from ringkeep.core.cluster.orders import Verb
from ringkeep.core.cluster.planner import next_map
from ringkeep.core.protocol.cluster_map import ClusterMap, Member, NodeInfo, NodeState, Partition
from ringkeep.core.protocol.messages import Said
from ringkeep.core.protocol.rows import NO_NODE
from ringkeep.core.protocol.types import Epoch, Incarnation, MapVersion, NodeId
from ringkeep.sim.checks.map_rules import illegal

IDS = tuple(NodeId(f"{number:08x}" * 4) for number in range(1, 9))  # a dead node's name shows the first 8
Voters = tuple[NodeId, ...]
ORDERED = (Verb.DECOMMISSION, Verb.GIVE_UP, Verb.DRAIN, Verb.UNDRAIN, Verb.WEIGHT)

randoms = st.integers(0, 2**32 - 1).map(Random)
many = settings(max_examples=150, derandomize=True)


def an_info(node: NodeId, incarnation: int = 1, state: NodeState = NodeState.ACTIVE) -> NodeInfo:
    name = f"n{IDS.index(node)}"
    return NodeInfo(node, name, f"{name}:1", f"{name}:2", name, 1, Incarnation(incarnation), state)


def a_map(nodes: tuple[NodeInfo, ...], partitions: tuple[Partition, ...], version: int = 20) -> ClusterMap:
    return ClusterMap(MapVersion(version), "test", "c" * 32, 3, nodes, partitions)


# --- the steps that the design knows -------------------------------------------------------------------


def steps(part: Partition, nodes: Voters, config: MapVersion) -> Iterator[Partition]:
    """Every change of replicas that may follow, the order of voters aside. The primary stays a voter."""
    if part.old_voters:
        yield replace(part, old_voters=(), config=config)
        yield replace(part, voters=part.old_voters, old_voters=(), config=config)
        return
    strangers = [node for node in nodes if node not in part.voters]
    learners = [(node, voter) for node in strangers for voter in (None, *part.voters)]
    for learner, replaced in learners:
        if (learner, replaced) != (part.learner, part.replaces):
            yield replace(part, learner=learner, replaces=replaced, config=config)
    joint = replace(part, old_voters=part.voters, learner=None, replaces=None, config=config)
    if part.learner is not None:
        yield replace(part, learner=None, replaces=None, config=config)
        if part.replaces != part.primary:
            stay = tuple(voter for voter in part.voters if voter != part.replaces)
            yield replace(joint, voters=(*stay, part.learner))
        return
    for voter in part.voters:
        if voter != part.primary:
            yield replace(joint, voters=tuple(other for other in part.voters if other != voter))


def successors(part: Partition, nodes: tuple[NodeInfo, ...]) -> Iterator[Partition]:
    """The partition under every primary that may come next."""
    for node in nodes:
        if node.id in part.voters and (not part.old_voters or node.id in part.old_voters):
            epoch = Epoch(part.epoch + 1)
            yield replace(part, epoch=epoch, primary=node.id, incarnation=node.incarnation)


# --- all states of a small partition -------------------------------------------------------------------


def some_of(nodes: Voters) -> list[Voters]:
    return [some for count in range(1, len(nodes) + 1) for some in combinations(nodes, count)]


def all_states(nodes: Voters) -> list[Partition]:
    """Every state of a partition that the first of these nodes leads, by replicas: also the strange ones."""
    first = nodes[0]
    states = []
    for voters in some_of(nodes):
        made = Partition(Epoch(4), first, Incarnation(1), voters, MapVersion(3))
        states.append(made)
        states += [
            replace(made, old_voters=old, learner=learner)
            for old in some_of(nodes)
            for learner in (None, nodes[-1])
        ]
        learners = [(node, voter) for node in nodes for voter in (None, *nodes)]
        states += [replace(made, learner=learner, replaces=voter) for learner, voter in learners]
    return states


def replicas(part: Partition) -> tuple[object, ...]:
    return frozenset(part.voters), frozenset(part.old_voters), part.learner, part.replaces


def quorums(part: Partition) -> list[frozenset[NodeId]]:
    """The sets of nodes that can decide: a majority of the voters, and of the old ones while joint."""

    def majorities(voters: Voters) -> list[frozenset[NodeId]]:
        return [frozenset(some) for some in combinations(voters, len(voters) // 2 + 1)]

    if not part.old_voters:
        return majorities(part.voters)
    return [new | old for new in majorities(part.voters) for old in majorities(part.old_voters)]


def test_from_every_state_exactly_the_steps_of_the_design_are_legal() -> None:
    nodes = IDS[:4]
    infos = tuple(map(an_info, nodes))
    states = all_states(nodes)
    version = MapVersion(21)
    accepted = 0
    for before in states:
        if illegal(a_map(infos, (before,)), a_map(infos, (replace(before, epoch=Epoch(5)),), version)):
            continue  # not a state that a map may hold
        now = a_map(infos, (before,))
        meant = {replicas(after) for after in steps(before, nodes, version)}
        found = {}
        for after in states:
            changed = replicas(after) != replicas(before)
            after = replace(after, config=version if changed else before.config)
            if not illegal(now, a_map(infos, (after,), version)):
                found[replicas(after)] = after
        assert found.keys() == meant | {replicas(before)}
        for after in found.values():
            assert all(one & other for one in quorums(before) for other in quorums(after)), "two majorities"
        accepted += len(found)
    assert accepted > 400


# --- maps of any kind ----------------------------------------------------------------------------------


def a_random_map(random: Random) -> ClusterMap:
    """A cluster in the middle of things: every partition stable, with a learner, or joint."""
    ids = IDS[: random.randint(3, 7)]
    nodes = tuple(an_info(node, random.randint(1, 4)) for node in ids)
    made = []
    for _ in range(random.randint(1, 6)):
        voters = tuple(random.sample(ids, random.randint(1, min(5, len(ids)))))
        primary = nodes[ids.index(random.choice(voters))]
        part = Partition(
            Epoch(random.randint(1, 9)),
            primary.id,
            primary.incarnation,
            voters,
            MapVersion(random.randint(1, 9)),
        )
        for _ in range(random.randint(0, 2)):
            part = random.choice([part, *steps(part, ids, MapVersion(random.randint(10, 20)))])
        made.append(part)
    return a_map(nodes, tuple(made))


def shuffled(part: Partition, random: Random) -> Partition:
    return replace(part, voters=tuple(random.sample(part.voters, len(part.voters))))


def lawful(now: ClusterMap, random: Random) -> ClusterMap:
    """A map that may follow: in every place a step, another primary, another order, or nothing."""
    version = MapVersion(now.version + 1)
    nodes = [
        replace(node, incarnation=Incarnation(node.incarnation + random.choice([0, 0, 1, 5])), http="moved:1")
        if random.random() < 0.3
        else node
        for node in now.nodes
    ]
    held = {node for part in now.partitions for node in part.replicas}
    ids = tuple(node.id for node in nodes)
    made = []
    for part in now.partitions:
        what = random.choice(["nothing", "step", "primary", "order"])
        if what == "step":
            part = random.choice([part, *steps(part, ids, version)])
        elif what == "primary":
            part = random.choice(list(successors(part, tuple(nodes))))
        made.append(part if what == "nothing" or part.old_voters else shuffled(part, random))
    held |= {node for part in made for node in part.replicas}
    nodes = [node for node in nodes if node.id in held or random.random() < 0.5]
    strangers = [node for node in IDS if node not in ids]
    if strangers and random.random() < 0.5:
        nodes.append(an_info(strangers[0], state=NodeState.JOINING))
    return now.next(nodes=tuple(nodes), partitions=tuple(made))


@many
@given(randoms)
def test_many_lawful_steps_at_once_are_legal(random: Random) -> None:
    now = a_random_map(random)
    for _ in range(5):
        after = lawful(now, random)
        assert illegal(now, after) == ""
        now = after


def with_part(made: ClusterMap, number: int, part: Partition) -> ClusterMap:
    partitions = (*made.partitions[:number], part, *made.partitions[number + 1 :])
    return replace(made, partitions=partitions)


def with_node(made: ClusterMap, number: int, node: NodeInfo) -> ClusterMap:
    return replace(made, nodes=(*made.nodes[:number], node, *made.nodes[number + 1 :]))


def wrong_maps(before: ClusterMap, after: ClusterMap, random: Random) -> Iterator[tuple[str, ClusterMap]]:
    """`after`, which may follow `before`, with one thing wrong that concerns the map or its nodes."""
    yield "the number stays", replace(after, version=before.version)
    yield "a number is left out", replace(after, version=MapVersion(after.version + 1))
    yield "another cluster", replace(after, cluster_id="d" * 32)
    yield "another cluster's name", replace(after, cluster="other")
    yield "another format", replace(after, format=2)
    yield "a partition less", replace(after, partitions=after.partitions[:-1])
    yield "a partition more", replace(after, partitions=(*after.partitions, after.partitions[0]))
    at = random.randrange(len(after.nodes))
    node = after.nodes[at]
    known = before.node(node.id)
    if known is not None:
        fallen = replace(node, incarnation=Incarnation(known.incarnation - 1))
        yield "an incarnation falls", with_node(after, at, fallen)
    yield "a node twice", replace(after, nodes=(*after.nodes, node))
    alike = replace(after.nodes[at - 1], name=node.name)
    yield "a name twice", with_node(after, at - 1, alike)
    held = [node.id for node in after.nodes if any(node.id in part.replicas for part in after.partitions)]
    gone = random.choice(held)
    rest = tuple(node for node in after.nodes if node.id != gone)
    yield "a node that holds replicas goes", replace(after, nodes=rest)


def wrong_parts(before: Partition, ids: Voters, version: MapVersion) -> Iterator[tuple[str, Partition]]:
    """What must not become of a partition."""
    epoch = before.epoch
    yield "the epoch falls", replace(before, epoch=Epoch(epoch - 1))
    yield "an epoch is left out", replace(before, epoch=Epoch(epoch + 2))
    yield "another life in the epoch", replace(before, incarnation=Incarnation(before.incarnation + 1))
    yield "an earlier life in the epoch", replace(before, incarnation=Incarnation(before.incarnation - 1))
    yield "a config without a change", replace(before, config=version)
    for node in ids:
        if node != before.primary:
            yield "another primary in the epoch", replace(before, primary=node)
        if node not in before.voters:
            yield "a primary without a vote", replace(before, primary=node, epoch=Epoch(epoch + 1))
    for voters in permutations(ids, len(before.voters)):
        if set(voters) not in (set(before.voters), set(before.old_voters)) and before.primary in voters:
            yield "voters without a joint step", replace(before, voters=voters, old_voters=(), config=version)
    for after in steps(before, ids, version):
        yield "a change under the old config", replace(after, config=before.config)
        yield "a change under an earlier config", replace(after, config=MapVersion(version - 1))
        yield "a change and an epoch", replace(after, epoch=Epoch(epoch + 1))
        if after.old_voters:
            yield "joint from other voters", replace(after, old_voters=(*after.old_voters, IDS[-1]))
            others = [
                node for node in after.old_voters if node not in after.voters and node != before.primary
            ]
            two = [node for node in before.voters if node != before.primary and node not in others]
            if two:
                left = tuple(node for node in after.voters if node != two[0])
                yield "two voters at once", replace(after, voters=left)
    if before.learner is not None:
        promoted = (*before.voters, before.learner)
        yield (
            "a learner votes without a joint step",
            replace(before, voters=promoted, learner=None, replaces=None, config=version),
        )
        for other in ids:
            if other not in (before.learner, *before.voters):
                joint = replace(before, voters=(*before.voters, other), old_voters=before.voters)
                joint = replace(joint, learner=None, replaces=None, config=version)
                yield "joint with another than the learner", joint
    yield "nobody votes", replace(before, voters=(), config=version)
    yield "a voter twice", replace(before, voters=(*before.voters, before.voters[0]))
    if before.old_voters:
        yield "an old voter twice", replace(before, old_voters=(*before.old_voters, before.old_voters[0]))


@many
@given(randoms)
def test_one_wrong_thing_among_lawful_ones_is_refused(random: Random) -> None:
    now = a_random_map(random)
    after = lawful(now, random)
    for what, wrong in wrong_maps(now, after, random):
        assert illegal(now, wrong), what
    ids = tuple(node.id for node in after.nodes)
    number = random.randrange(len(now.partitions))
    for what, part in wrong_parts(now.partitions[number], ids, after.version):
        assert illegal(now, with_part(after, number, part)), what


# --- what the controller makes -------------------------------------------------------------------------


class RandomWorld:
    """What a controller may be told, and rightly or wrongly believe."""

    def __init__(self, random: Random) -> None:
        self.random = random

    def some(self, nodes: Voters, part: float) -> Voters:
        return tuple(node for node in nodes if self.random.random() < part)

    def members(self, now: ClusterMap) -> list[Member]:
        """Old lives and new ones, strangers, and a stranger under somebody's name."""
        random = self.random
        known = {node.id: node for node in now.nodes}
        made = []
        for sequence, node in enumerate(random.sample(IDS, random.randint(1, len(IDS)))):
            info = known.get(node, an_info(node))
            name = random.choice(now.nodes).name if random.random() < 0.2 else info.name
            life = max(1, info.incarnation + random.choice([-1, 0, 0, 0, 1]))
            belongs = now.cluster_id if node in known and random.random() < 0.9 else ""
            made.append(Member(
                node, name, info.http, info.peer, info.zone, 1, 3, now.replication, len(now.partitions),
                Incarnation(life), now.version, belongs, sequence=sequence,
            ))  # fmt: skip
        return made

    def statements(self, now: ClusterMap) -> list[Statement]:
        """Words of primaries, most of them of the present epoch and config, some of them nonsense."""
        random = self.random
        said = []
        for _ in range(random.randint(0, 12)):
            number = random.randrange(len(now.partitions) + 1)
            part = now.partitions[min(number, len(now.partitions) - 1)]
            node = random.choice([*part.replicas, *IDS[:2], NO_NODE])
            node = part.learner if part.learner is not None and random.random() < 0.5 else node
            late = random.random() < 0.2
            epoch, config = Epoch(part.epoch - late), MapVersion(part.config - late)
            said.append(Statement(number, epoch, config, random.choice(list(Said)), node))
        return said

    def seen(self, now: ClusterMap) -> Observations:
        random = self.random
        ids = tuple(node.id for node in now.nodes)
        words = {node: self.some(ids, random.choice([0.0, 0.3, 0.9])) for node in self.some(ids, 0.8)}
        numbers = range(len(now.partitions))
        return Observations(
            members=self.members(now),
            suspicions=words.get,
            unfit=self.some(IDS, 0.2).__contains__,
            statements=self.statements(now),
            tried={(number, node) for number in numbers for node in self.some(ids, 0.1)},
            damaged=self.some(IDS, 0.1).__contains__,
            absent=self.some(IDS, 0.2).__contains__,
            active={number for number in numbers if random.random() < 0.8}.__contains__,
            orders=[(node, random.choice(ORDERED), 2) for node in self.some(IDS, 0.1)],
        )


@pytest.mark.parametrize("begins", ["in the middle of things", "anew"])
def test_whatever_the_controller_makes_is_legal_and_any_controller_makes_it(begins: str) -> None:
    made = {"steps": 0, "joint": 0, "led": 0, "learners": 0, "nodes": 0}

    @settings(max_examples=150, derandomize=True, database=None)
    @given(randoms)
    def live(random: Random) -> None:
        now = a_random_map(random)
        if begins == "anew":
            voters = tuple(node.id for node in now.nodes[:3])
            part = Partition(Epoch(1), voters[0], now.nodes[0].incarnation, voters, MapVersion(1))
            now = replace(now, partitions=(part,) * len(now.partitions))
        world = RandomWorld(random)
        for _ in range(8):
            seen = world.seen(now)
            after = next_map(now, seen)
            assert after == next_map(now, seen), "a pure function"
            if after is None:
                continue
            assert illegal(now, after) == ""
            made["steps"] += 1
            made["nodes"] += after.nodes != now.nodes
            for before, part in zip(now.partitions, after.partitions, strict=True):
                made["led"] += part.epoch != before.epoch
                made["joint"] += bool(part.old_voters) and not before.old_voters
                made["learners"] += part.learner is not None and before.learner is None
            now = after

    live()
    assert all(count > 20 for count in made.values()), f"the worlds are too quiet: {made}"
