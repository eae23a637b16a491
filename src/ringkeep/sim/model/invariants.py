"""What must hold in every state: the invariants of `docs/guarantees.md`, numbered as there.

Those of one node alone (promises, applied state) are checked in `local_states`, clients' answers in `world`,
and successive maps in `maps`. Here are those that several nodes could break together.
"""

from collections.abc import Sequence
from itertools import combinations

from ringkeep.core.protocol import quorum
from ringkeep.core.protocol.cluster_map import Partition
from ringkeep.core.protocol.entry import epoch_of
from ringkeep.core.protocol.types import NodeId
from ringkeep.sim.errors import Violated
from ringkeep.sim.model.local_states import LocalState, LogTuple
from ringkeep.sim.model.machine import NAMES, NUMBERS


class ModelInvariants:
    """Checks states; parts that were checked once are not checked again."""

    def __init__(self) -> None:
        self._right: set[tuple[int, ...]] = set()
        self._quorums: dict[Partition, list[tuple[int, ...]]] = {}

    def check(
        self, nodes: Sequence[LocalState], past: int, committed: LogTuple, place: int, part: Partition
    ) -> None:
        """Raise Violated if the world is wrong. `past` and `place` are numbers for the two after them."""
        name = (*[node.tail for node in nodes], past, place)
        if name in self._right:
            return
        self._roles(nodes)
        for node in nodes:
            self._commit(node, committed)
        self._durable(nodes, committed, part)
        self._matching(nodes)
        self._next_primary(nodes, committed, part)
        self._right.add(name)

    def _roles(self, nodes: Sequence[LocalState]) -> None:
        """1, 2. One epoch has one holder, and at most one primary, ACTIVE or not."""
        for one, other in combinations(nodes, 2):
            if one.promised[0] == other.promised[0]:
                _require(one.promised == other.promised, f"epoch {one.promised[0]} has two holders")
            if one.primary:
                _require(one.primary != other.primary, f"epoch {one.primary} has two primaries")

    def _commit(self, node: LocalState, committed: LogTuple) -> None:
        """4, 5. What is committed is the same everywhere, and is in the log of every ACTIVE primary."""
        log = node.logs[0]
        _require(
            log[: node.commit] == committed[: node.commit],
            f"{name_of(node)} has committed something else than was committed before",
        )
        if node.active:
            lacking = [
                at
                for at, entry in enumerate(committed)
                if epoch_of(entry) < node.primary and log[at : at + 1] != (entry,)
            ]
            _require(not lacking, f"{name_of(node)} leads epoch {node.primary} without a committed entry")

    def _durable(self, nodes: Sequence[LocalState], committed: LogTuple, part: Partition) -> None:
        """6. What is committed is durable on a majority.

        While joint it is one of the old voters: until the primary has heard of the change, that is enough.
        """
        holders = [
            part_id for part_id, node in _by_id(nodes, part) if node.safe[: len(committed)] == committed
        ]
        names = ", ".join(NAMES[node] for node in holders)
        _require(
            quorum.won(part.old_voters or part.voters, (), holders),
            f"entry {len(committed)} is committed, and durable only on: {names or 'nobody'}",
        )

    def _matching(self, nodes: Sequence[LocalState]) -> None:
        """3. Equal epoch and index mean equal logs up to there, also in what a crash would leave."""
        for one, other in combinations(nodes, 2):
            for log in one.logs:
                for twin in other.logs:
                    _require(
                        _match(log, twin),
                        f"the logs of {name_of(one)} and {name_of(other)} differ below equal entries",
                    )

    def _next_primary(self, nodes: Sequence[LocalState], committed: LogTuple, part: Partition) -> None:
        """5, in advance. Whichever majority answers the next primary, its greatest log holds everything
        committed. This includes crashes of any of them, which may bring back what was cut from a log.
        """
        for members in self._majorities(part):
            greatest: list[LogTuple] = [()]
            for member in members:
                greatest = [max(best, log, key=_rank) for best in greatest for log in nodes[member].logs]
            for best in greatest:
                _require(
                    best[: len(committed)] == committed,
                    f"{' and '.join(f'n{member + 1}' for member in members)} could begin an epoch"
                    " without a committed entry",
                )

    def _majorities(self, part: Partition) -> list[tuple[int, ...]]:
        """Return the smallest sets of voters that can begin an epoch."""
        found = self._quorums.get(part)
        if found is None:
            found = []
            voters = sorted({NUMBERS[node] for node in part.voters + part.old_voters})
            by_number = {number: node for node, number in NUMBERS.items()}
            for size in range(1, len(voters) + 1):
                for members in combinations(voters, size):
                    enough = quorum.won(part.voters, part.old_voters, [by_number[at] for at in members])
                    if enough and not any(set(smaller) < set(members) for smaller in found):
                        found.append(members)
            self._quorums[part] = found
        return found


def _by_id(nodes: Sequence[LocalState], part: Partition) -> list[tuple[NodeId, LocalState]]:
    return [(node, nodes[NUMBERS[node]]) for node in part.replicas]


def _rank(log: LogTuple) -> tuple[int, int]:
    return (epoch_of(log[-1]), len(log)) if log else (0, 0)


def _match(one: LogTuple, other: LogTuple) -> bool:
    for at in range(min(len(one), len(other)), 0, -1):
        if epoch_of(one[at - 1]) == epoch_of(other[at - 1]):
            return one[:at] == other[:at]
    return True


def name_of(node: LocalState) -> str:
    return f"n{node.node + 1}"


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise Violated(what)
