"""The controller's decisions: who must lead a partition."""

from collections.abc import Sequence

from tests.support.core.parts import A, B, C, D, E, a_map, a_member, a_part

from ringkeep.core.cluster.observations import Observations, Statement
from ringkeep.core.cluster.planner import disagreement, form, newest_lives, next_map
from ringkeep.core.protocol.cluster_map import Partition
from ringkeep.core.protocol.messages import Said
from ringkeep.core.protocol.rows import NO_NODE
from ringkeep.core.protocol.types import Epoch, Incarnation, MapVersion, NodeId
from ringkeep.sim.checks.map_rules import illegal

Words = dict[NodeId, Sequence[NodeId] | None]


def decide(
    part: Partition,
    words: Words,
    *statements: Statement,
    lives: dict[NodeId, int] | None = None,
    unfit: tuple[NodeId, ...] = (),
    tried: tuple[tuple[int, NodeId], ...] = (),
) -> Partition | None:
    """The partition in the next map, None if nothing is due. `words`: whom each suspects; absent: nobody."""
    nodes = (A, B, C, D, E)
    members = [a_member(n, incarnation=Incarnation((lives or {}).get(n, 1))) for n in nodes]
    now = a_map(part, nodes=nodes)
    seen = Observations(members, lambda n: words.get(n, ()), unfit.__contains__, statements, tried)
    found = next_map(now, seen)
    if found is None:
        return None
    assert illegal(now, found) == ""
    return found.partitions[0]


def leader(found: Partition | None) -> tuple[NodeId, int] | None:
    return (found.primary, found.epoch) if found is not None else None


def test_nothing_is_due_when_nobody_suspects_the_primary() -> None:
    assert decide(a_part(A), {}) is None


def test_one_voters_suspicion_deposes_nobody() -> None:
    assert decide(a_part(A), {B: (A,)}) is None
    assert decide(a_part(A), {B: (A,), D: (A,), E: (A,)}) is None, "only voters are asked"


def test_a_majority_of_the_voters_deposes_and_the_next_preferred_leads() -> None:
    assert leader(decide(a_part(A), {A: None, B: (A,), C: (A,)})) == (B, 4)


def test_while_joint_both_majorities_must_suspect() -> None:
    part = a_part(A, (A, B, D), old_voters=(A, B, C))
    assert decide(part, {B: (A,), C: (A,)}) is None, "the new voters keep it"
    assert decide(part, {B: (A,), D: (A,)}) is None, "the old ones do"
    assert leader(decide(part, {B: (A,), C: (A,), D: (A,)})) == (B, 4)
    assert decide(part, {B: (A, D), C: (A,), D: (A,)}) is None, "b reaches no majority of the new voters"


def test_while_joint_only_one_of_both_sets_of_voters_may_lead() -> None:
    part = a_part(A, (D, B, A), old_voters=(A, B, C))
    against: Words = {A: None, B: (A,), C: (A,), D: (A,)}
    assert leader(decide(part, against)) == (B, 4), "d is preferred, but going back must stay possible"
    assert decide(part, {}, a_statement(D)) is None
    assert decide(part, against, unfit=(B,)) is None, "nor is c, who is to go"


def test_the_voter_that_a_learner_is_to_replace_leads_last() -> None:
    part = a_part(A, (A, B, C), learner=D, replaces=B)
    against: Words = {A: None, B: (A,), C: (A,)}
    assert leader(decide(part, against)) == (C, 4)
    assert leader(decide(part, against, unfit=(C,))) == (B, 4), "last, but it may"


def test_a_partial_partition_deposes_nobody() -> None:
    """A and B do not reach each other, C reaches both: A keeps a majority with C."""
    assert decide(a_part(A), {A: (B,), B: (A,), C: ()}) is None


def test_the_new_primary_must_reach_a_majority_itself() -> None:
    assert leader(decide(a_part(A), {A: None, B: (A, C), C: (A,)})) == (C, 4)
    assert decide(a_part(A), {A: None, B: (A, C), C: (A, B)}) is None, "nobody could become ACTIVE"


def test_a_newer_life_of_the_primarys_node_needs_a_new_epoch() -> None:
    assert leader(decide(a_part(A), {}, lives={A: 2})) == (B, 4)
    alone = decide(a_part(A, (A,)), {}, lives={A: 2})
    assert alone is not None
    assert (alone.primary, alone.epoch, alone.incarnation) == (A, 4, 2), "it may lead again, as its new life"


def test_a_lost_registration_alone_is_no_death() -> None:
    assert next_map(a_map(), Observations([], lambda n: (), lambda n: False)) is None


def test_the_unfit_are_given_nothing_and_who_failed_lately_is_tried_last() -> None:
    against: Words = {A: None, B: (A,), C: (A,)}
    assert leader(decide(a_part(A), against, unfit=(B,))) == (C, 4)
    assert leader(decide(a_part(A), against, tried=((0, B),))) == (C, 4)
    assert leader(decide(a_part(A), against, tried=((1, B),))) == (B, 4), "it failed with another partition"
    assert leader(decide(a_part(A), against, unfit=(C,), tried=((0, B),))) == (B, 4), "last, but tried"


def a_statement(to: NodeId | None, epoch: int = 3, config: int = 1, partition: int = 0) -> Statement:
    """A handover to that node; None: the primary asks for any other."""
    what = Said.FAILED if to is None else Said.HANDOVER
    return Statement(partition, Epoch(epoch), MapVersion(config), what, to or NO_NODE)


def test_a_primary_may_hand_over_or_ask_for_another() -> None:
    assert leader(decide(a_part(C), {}, a_statement(A))) == (A, 4)
    assert leader(decide(a_part(A), {}, a_statement(None))) == (B, 4)
    assert decide(a_part(C), {}, a_statement(A), unfit=(A,)) is None
    assert decide(a_part(C), {}, a_statement(D)) is None, "no voter"


def test_a_late_statement_decides_nothing() -> None:
    assert decide(a_part(C), {}, a_statement(A, epoch=2)) is None
    assert decide(a_part(C), {}, a_statement(A, config=9)) is None
    assert decide(a_part(C), {}, a_statement(A, partition=5)) is None


def test_planning_its_own_result_changes_nothing() -> None:
    found = decide(a_part(A), {A: None, B: (A,), C: (A,)})
    assert found is not None
    assert decide(found, {A: None, B: (A,), C: (A,)}) is None


# --- forming ---------------------------------------------------------------------------------------------


def test_the_first_map_is_the_same_whoever_makes_it() -> None:
    members = [a_member(n, partitions=16, incarnation=Incarnation(2)) for n in (A, B, C)]
    found = form(members, "test", "1" * 32)
    assert found == form(members[::-1], "test", "1" * 32)
    assert (found.version, len(found.partitions), found.replication) == (1, 16, 3)
    for part in found.partitions:
        assert sorted(part.voters) == [A, B, C]
        assert (part.epoch, part.primary, part.incarnation) == (1, part.voters[0], 2)
    assert {part.primary for part in found.partitions} == {A, B, C}


def test_members_must_agree_and_be_distinct() -> None:
    assert disagreement([a_member(A), a_member(B), a_member(C)]) is None
    for field, value in (("expect", 5), ("replication", 1), ("partitions", 2)):
        assert f"--{field} (a: " in (disagreement([a_member(A), a_member(B, "", **{field: value})]) or "")
    for field in ("name", "http", "peer"):
        twin = a_member(B, **{field: getattr(a_member(A), field)})
        assert f"the same {field}" in (disagreement([a_member(A), twin]) or "")


def test_of_two_members_with_one_id_the_newer_life_counts() -> None:
    old, new = a_member(A, sequence=1), a_member(A, sequence=9, incarnation=Incarnation(2))
    other = a_member(B, sequence=4)
    assert newest_lives([new, other, old]) == [other, new]
