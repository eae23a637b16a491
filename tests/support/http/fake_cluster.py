"""The steering side of the fake node: members, moves and settings of a small cluster that exists in memory.

Orders take effect at once, where a real cluster needs a while; so tests that both must pass wait for effects.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ringkeep.errors import NoSuchNode, Refusal, Unavailable

MEMBERS = 4
REPLICATION = 3
STATES = {"pause": "paused", "resume": "running", "cancel": "cancelled"}


class FakeCluster:
    """Four members and one partition of three replicas, led by this node.

    `away`: why no order can be taken, as while ZooKeeper is away. `lost`: the partitions without a majority.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.away = ""
        self.lost: dict[int, tuple[list[str], list[str]]] = {}
        self.named_lost: list[str] = []
        self.problems: list[str] = []
        self.said = ""
        self.state = "running"
        self.running: list[dict[str, Any]] = []
        self.settings = {"replication": REPLICATION, "partitions": 1, "moves_at_once": 8}
        self.settings |= {"move_bytes_per_s": 0, "grace_ms": 600_000}
        names = [name, *(f"{name}-other-{number}" for number in range(1, MEMBERS))]
        self.members = {each: self._member(each, number) for number, each in enumerate(names)}

    def _member(self, name: str, number: int) -> dict[str, Any]:
        return {
            "name": name,
            "id": f"{number:032x}",
            "http": f"127.0.0.1:{8000 + 10 * number}",
            "peer": f"127.0.0.1:{8002 + 10 * number}",
            "zone": name,
            "weight": 1,
            "state": "active",
            "damaged": False,
            "disk": "fine",
            "disk_full": False,
            "primaries": int(number == 0),
            "replicas": int(number < REPLICATION),
            "version": "0.1.0",
        }

    def cluster(self) -> dict[str, Any]:
        """Return the answer of `GET /v1/cluster`."""
        return {
            "cluster": "test",
            "cluster_id": "c" * 32,
            "map_version": 1,
            "controller": self.name,
            "health": self.health,
            "problems": self.problems,
            "missing": [self._missing(text) for text in self.problems],
            "coordination": "zookeeper",
            "zookeeper": "connected",
            "settings": dict(self.settings),
            "members": [dict(member) for member in self.members.values()],
        }

    def _missing(self, text: str) -> dict[str, Any]:
        numbers: dict[str, Any] = {"partitions": [], "count": None, "have": None, "want": None}
        return {"kind": "silent", "health": self.health, "text": text, "nodes": []} | numbers

    @property
    def health(self) -> str:
        """Degraded as soon as there are problems, or what the test wants."""
        return self.said or ("degraded" if self.problems else "healthy")

    @property
    def voters(self) -> list[str]:
        return list(self.members)[:REPLICATION]

    def moves(self) -> dict[str, Any]:
        """Return the moves that the test put there."""
        left = sum(each["bytes"] - each["bytes_done"] for each in self.running)
        rate = sum(each["rate"] for each in self.running)
        return {
            "state": self.state,
            "limits": {name: self.settings[name] for name in ("moves_at_once", "move_bytes_per_s")},
            "planned": [],
            "running": self.running,
            "finished": [],
            "bytes_left": left,
            "rate": rate,
            "seconds_left": left / rate if rate else None,
        }

    def plan(self, action: str, name: str) -> dict[str, Any]:
        """Return a plan in which one replica moves."""
        if action == "join" and name in self.members:
            raise Refusal(f"{name} is in the cluster already; plan with a name that is not")
        if action == "leave":
            self._find(name)
        counts = [
            {
                "name": each["name"],
                "replicas": each["replicas"],
                "after": each["replicas"],
                "primaries": each["primaries"],
                "primaries_after": each["primaries"],
            }
            for each in self.members.values()
        ]
        return {"action": action, "node": name, "replicas": 1, "bytes": 10, "minimum": 1, "members": counts}

    def _find(self, name: str) -> dict[str, Any]:
        if name not in self.members:
            raise NoSuchNode(f"there is no node {name}; the cluster has {', '.join(self.members)}")
        return self.members[name]

    def _take_order(self) -> None:
        if self.away:
            raise Unavailable(self.away)

    def steer(self, verb: str, name: str, weight: int) -> dict[str, Any]:
        """Carry an order about a node out."""
        self._take_order()
        member = self._find(name)
        if verb == "weight":
            member["weight"] = weight
        elif verb == "drain":
            member["state"] = "draining"
        elif verb == "undrain":
            member["state"] = "active"
        elif verb == "give-up" and member["state"] not in ("suspect", "dead"):
            raise Refusal(f"{name} answers; let it leave in peace instead, by a decommission")
        elif verb == "decommission" and len(self.members) <= REPLICATION:
            raise Refusal(f"{REPLICATION} nodes have to stay; add one first")
        else:
            member["state"] = "dead" if verb == "give-up" else "leaving"
        return dict(member)

    def hold(self, verb: str) -> dict[str, Any]:
        """Hold the moves, or let them go on."""
        self._take_order()
        self.state = STATES[verb]
        return self.moves()

    def change(self, wanted: Mapping[str, int]) -> dict[str, Any]:
        """Change settings."""
        self._take_order()
        if wanted.get("replication", 0) > len(self.members):
            raise Refusal(f"{wanted['replication']} replicas need as many nodes; add some first")
        self.settings |= wanted
        return dict(self.settings)

    def recover(self, partitions: Sequence[int], lost: Sequence[str]) -> dict[str, Any]:
        """Recover the partitions that are lost."""
        self._take_order()
        self.named_lost = list(lost)
        if idle := [each for each in partitions if each not in self.lost]:
            raise Refusal(f"partition {idle[0]} needs no recovery; leave it out")
        if not self.lost:
            raise Refusal("no partition needs recovery")
        rows = [
            {
                "partition": each,
                "gone": self.lost[each][0],
                "left": self.lost[each][1],
                "goes_on_with": (self.lost[each][1] or [self.name])[0],
                "begins_empty": not self.lost[each][1],
            }
            for each in partitions or list(self.lost)
        ]
        for row in rows:
            del self.lost[int(str(row["partition"]))]
        return {"partitions": rows}

    def map_copy(self) -> dict[str, Any]:
        """Return a copy without a map, as a node that still waits at the barrier holds it."""
        return {
            "name": self.name,
            "id": self.members[self.name]["id"],
            "cluster": "test",
            "cluster_id": "c" * 32,
            "map_version": 1,
            "map": None,
            "promised": [[0, 1]],
        }
