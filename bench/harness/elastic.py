"""A local cluster that grows and shrinks, how its replicas lie, and what was moved against what had to be.

Everything is asked of one node that is there from beginning to end. Knows nothing of the load.
"""

import json
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from harness.cluster import HOST, PORT_STEP, Cluster, Trouble, alive, command_line, fetch, free_base, wait_for
from harness.load import Endpoint
from ringkeep.core.cluster.slots import partition_of

NODES: Final = 3
ROOM: Final = 2  # for nodes that join
WITNESS: Final = "node-2"  # neither the first, which leaves, nor lost
LOOK_S: Final = 0.25
ANSWER_S: Final = 20.0
SETTLE_S: Final = 1_200.0
EVEN_S: Final = 30.0  # the order of voters is put right after the last move: primaries follow
SUSPECTED_S: Final = 20.0  # until nobody counts a killed node as one that answers
MOST_HELD: Final = 1.1  # times the mean, of replicas and of primaries
JOURNAL: Final = 1_024  # so many finished moves does a node remember

Placement = dict[str, tuple[int, int]]
"""Of every node that is a member, replicas and primaries."""


class Refused(Trouble):
    """An order was not taken."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a change took, or must take at least: replicas that get to another node, and their bytes."""

    replicas: float
    data_bytes: float


@dataclass(slots=True)
class Change:
    """One change of the members, done."""

    what: str
    before: Placement
    after: Placement
    minimum: Cost
    moved: Cost
    undone: int
    seconds: float

    @property
    def replicas_ratio(self) -> float:
        return self.moved.replicas / max(self.minimum.replicas, 1)

    @property
    def bytes_ratio(self) -> float:
        return self.moved.data_bytes / max(self.minimum.data_bytes, 1)


class Elastic(Cluster):
    """Three nodes or `nodes`, ports for two more, and the commands that change who belongs to it."""

    def __init__(
        self, data: Path, base_port: int | None, partitions: int | None = None, nodes: int = NODES
    ) -> None:
        super().__init__(data, nodes, base_port or free_base(nodes + ROOM))
        self._base = self.endpoints[0].port
        if partitions is not None:
            self._command += ["--partitions", str(partitions)]

    def join(self, number: int) -> Endpoint:
        """Start one more node, as the first ones were, and wait until it is ready."""
        name, port = f"node-{number}", self._base + (number - 1) * PORT_STEP
        http, peer = f"{HOST}:{port}", f"{HOST}:{port + 2}"
        command = command_line(self.pid(WITNESS))
        changes = {
            "--name": name, "--zone": name, "--data": str(self.data / name), "--http": http,
            "--advertise-http": http, "--peer": peer, "--advertise-peer": peer,
        }  # fmt: skip
        for flag, value in changes.items():
            command[command.index(flag) + 1] = value
        self.restart(name, command)
        self.names.append(name)
        self.endpoints.append(Endpoint(HOST, port))
        wait_for(lambda: self.ready(name), f"{name} to be ready")
        return self.endpoints[-1]

    def forget(self, name: str) -> Endpoint:
        """Expect nothing of this node any more; return where it was."""
        at = self.names.index(name)
        del self.names[at]
        return self.endpoints.pop(at)

    def order(self, *words: str) -> str:
        """Run `ringkeep WORDS`; return what it says. Raises Refused, with the reason."""
        witness = self.endpoints[self.names.index(WITNESS)]
        command = [self._command[0], *words, "--endpoint", f"http://{witness.host}:{witness.port}"]
        done = subprocess.run(command, capture_output=True, text=True, env=self._environment)
        if done.returncode:
            said = done.stderr.strip()
            raise Refused(f"`ringkeep {' '.join(words)}` ended with {done.returncode}: {said}")
        return done.stdout.strip()

    def order_once_silent(self, *words: str) -> str:
        """Give an order about a killed node: it is refused as long as somebody counts it as alive."""
        deadline = time.monotonic() + SUSPECTED_S
        while True:
            try:
                return self.order(*words)
            except Refused as refused:
                if "still answers" not in str(refused) or time.monotonic() > deadline:
                    raise

    def wait_left(self, name: str, pid: int) -> None:
        """Wait until the process of a node that leaves has ended, by the word of `ringkeep up`."""
        wait_for(lambda: not alive(pid), f"{name} to end by itself")
        words = f"{name} has left the cluster (process {pid} ended with exit code 0)"
        wait_for(lambda: words in self.said(), f"`ringkeep up` to say: {words}")

    # --- what it shows -----------------------------------------------------------------------------------

    def ask(self, path: str) -> Any:
        """Return what the witness answers. It may be busy for a while. Raises Trouble."""
        endpoint, answer = self.endpoints[self.names.index(WITNESS)], (0, b"")

        def answered() -> bool:
            nonlocal answer
            answer = fetch(endpoint, path)
            return answer[0] == 200

        wait_for(answered, f"{WITNESS} to answer {path}", ANSWER_S)
        return json.loads(answer[1])

    def parts(self) -> list[dict[str, Any]]:
        """Return every partition."""
        found: list[dict[str, Any]] = self.ask("/v1/cluster/partitions")["partitions"]
        return found

    def placement(self) -> Placement:
        parts = self.parts()
        held = Counter(name for part in parts for name in part["voters"])
        led = Counter(part["primary"] for part in parts)
        return {name: (held[name], led[name]) for name in sorted({*self.names, *held, *led})}

    def moves(self) -> dict[str, Any]:
        found: dict[str, Any] = self.ask("/v1/cluster/moves")
        if len(found["finished"]) >= JOURNAL:
            raise Trouble(f"{WITNESS} may have forgotten moves: it remembers {JOURNAL} only")
        return found

    def settled(self) -> bool:
        """Whether exactly our nodes are members with replicas, and nothing moves or has to move any more."""
        moves = self.moves()
        if moves["planned"] or moves["running"]:
            return False
        members = [each for each in self.ask("/v1/cluster")["members"] if each["state"] != "dead"]
        if {each["name"] for each in members} != set(self.names):
            return False
        if any(each["state"] != "active" for each in members):
            return False
        parts = self.parts()
        return all(
            part["state"] == "active" and part["primary"] == part["voters"][0]
            and not part["learners"] and not part["old_voters"]
            and set(part["voters"]) <= set(self.names)
            for part in parts
        )  # fmt: skip


class Changing:
    """Measures one change: made before, `done` after."""

    def __init__(self, cluster: Elastic, what: str, minimum: Cost) -> None:
        self.what = what
        self._cluster = cluster
        self._minimum = minimum
        self._before = cluster.placement()
        self._finished = len(cluster.moves()["finished"])
        self._began = time.monotonic()

    def wait(self, show: Callable[[dict[str, Any]], None]) -> None:
        """Wait until nothing moves any more; show the moves meanwhile. Raises Trouble.

        If the nodes do not share evenly by then, wait a while for that too, and leave it to others to judge.
        """
        deadline, settled_at = time.monotonic() + SETTLE_S, 0.0
        while (now := time.monotonic()) < deadline:
            if not self._cluster.settled():
                settled_at = 0.0
            elif fullest(self._cluster.placement()) <= MOST_HELD or now - (settled_at or now) > EVEN_S:
                return
            else:
                settled_at = settled_at or now
            show(self._cluster.moves())
            time.sleep(LOOK_S)
        moves = json.dumps(self._cluster.moves())[:2_000]
        raise Trouble(f"{self.what}: not done within {SETTLE_S:.0f} s: {moves}")

    def done(self) -> Change:
        seconds = time.monotonic() - self._began
        finished = self._cluster.moves()["finished"]
        latest = finished[: len(finished) - self._finished]  # the newest comes first
        moves = [move for move in latest if move["to"] is not None]
        moved = Cost(len(moves), sum(move["bytes"] for move in moves))
        undone = sum(move["outcome"] != "done" for move in moves)
        after = self._cluster.placement()
        return Change(self.what, self._before, after, self._minimum, moved, undone, seconds)


# --- what has to be moved at least ------------------------------------------------------------------------


def data_of_partitions(records: Mapping[bytes, bytes], partitions: int) -> list[int]:
    """Return how many bytes of keys and values each partition holds."""
    found = [0] * partitions
    for key, value in records.items():
        found[partition_of(key, partitions)] += len(key) + len(value)
    return found


def least_for_join(data: list[int], replication: int, nodes_after: int) -> Cost:
    """An even share of everything, to the newcomer."""
    share = replication / nodes_after
    return Cost(len(data) * share, sum(data) * share)


def least_for_leave(data: list[int], parts: Iterable[Mapping[str, Any]], name: str) -> Cost:
    """What the node holds, to the others."""
    held = [part["partition"] for part in parts if name in part["voters"]]
    return Cost(len(held), sum(data[number] for number in held))


def fullest(placement: Placement) -> float:
    """Return how many times the mean the fullest node has, of replicas or of primaries: what is worse."""
    columns = [[counts[column] for counts in placement.values()] for column in range(2)]
    return max(max(counts) * len(counts) / sum(counts) for counts in columns)
