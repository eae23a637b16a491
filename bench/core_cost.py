"""What the core costs: CPU per PUT and per GET over three replicas in one process, with nothing around it.

Three real cores behind three real drivers; messages are handed over as they are (no codec, no sockets), the
store is the in-memory engine, a sync is done at once. Every turn takes a batch of requests, as the loop of
a busy node does. What is left is the price of the protocol itself; docs/adr/0001-core-cost.md has figures.
"""

import argparse
import cProfile
import pstats
import time
from collections import deque
from collections.abc import Mapping, Sequence

from ringkeep.admission import Claim, Mark
from ringkeep.core.cluster.planner import form
from ringkeep.core.node import Node
from ringkeep.core.protocol.client_requests import Kind, Request, Result, Status
from ringkeep.core.protocol.cluster_map import Member
from ringkeep.core.protocol.effects import Lane
from ringkeep.core.protocol.messages import Message
from ringkeep.core.protocol.types import Incarnation, MapVersion, NodeId
from ringkeep.driver.enrolment import Start
from ringkeep.driver.turns import Driver
from ringkeep.ports import NO_MARK, Ending, Ports
from ringkeep.storage.memory import MemoryEngine
from ringkeep.wire import mapcodec

VALUE = b"x" * 128
KEYS = 20_000


class Place:
    """One node: every port but the engine, as cheap as it can be. `House` runs the turns."""

    def __init__(self, house: "House", number: int) -> None:
        self.house = house
        self.id = NodeId(f"{number + 1:032x}")
        self.engine = MemoryEngine()
        self.member = Member(
            self.id, f"n{number}", f"h{number}", f"p{number}", f"z{number}", 1, 3, 3, house.partitions,
            Incarnation(1), MapVersion(0),
        )  # fmt: skip
        self.turn_ends = False
        self.session_ms = 0
        self.mark: Mark
        self.driver: Driver

    def start(self) -> None:
        node = Node(self.id, Incarnation(1), self.engine, mapcodec, "bench", "f" * 32)
        ports = Ports(self.engine, self, self, self, self, self, mapcodec)
        self.driver = Driver(node, ports, self.member, 0, Start(self.id))

    # the shell, the clock
    def now(self) -> int:
        return self.house.now

    def soon(self, call: object) -> None:
        self.turn_ends = True

    def later(self, delay_ms: int, call: object) -> None:
        raise AssertionError("nothing stalls here")

    def joined(self, cluster_id: str) -> None: ...

    def departed(self) -> None: ...

    def superseded(self) -> None: ...

    def claiming(self, claims: Sequence[Claim]) -> None: ...

    def alarm(self, text: str) -> None:
        print(text)

    def stop(self, reason: str, ending: Ending) -> None:
        raise AssertionError(reason)

    def disk_free(self) -> tuple[int, int]:
        return 1 << 40, 1

    # syncer, network, coordination
    def request(self, ticket: int) -> None:
        self.house.events.append((self.id, None, ticket))

    def set_peers(self, peers: Mapping[NodeId, str]) -> None: ...

    def send(self, peer: NodeId, lane: Lane, messages: list[Message]) -> None:
        self.house.events.append((peer, self.id, messages))

    def renew(self, peer: NodeId) -> None:
        raise AssertionError("nobody is suspected here")

    def announce(self, member: Member) -> None: ...

    def refresh(self) -> None: ...

    def reregister(self) -> None: ...

    def write_map(self, expected: int, payload: bytes) -> None: ...

    def read_mark(self, node: NodeId) -> None: ...

    def write_mark(self, node: NodeId, expected: int, mark: Mark) -> None:
        self.mark = mark


class House:
    """Three nodes and what is under way between them."""

    def __init__(self, partitions: int) -> None:
        self.partitions = partitions
        self.now = 1
        self.events: deque[tuple[NodeId, NodeId | None, object]] = deque()
        self.nodes = {place.id: place for place in (Place(self, number) for number in range(3))}
        for place in self.nodes.values():
            place.start()
        payload = mapcodec.encode(form([place.member for place in self.nodes.values()], "bench", "f" * 32))
        for place in self.nodes.values():
            membership = place.driver.membership
            membership.member = place.member
            membership.map_read(0, None)
            membership.members_changed([])
            membership.mark_read(NO_MARK, None)
            membership.mark_read(0, place.mark)
            membership.map_read(1, payload)
            for peer in self.nodes:
                if peer != place.id:
                    place.driver.peer_up(peer, Incarnation(1))
        self.run()

    def run(self) -> None:
        """Deliver, one loop turn per node after the other, until nothing is under way."""
        while True:
            batch, self.events = self.events, deque()
            for target, sender, what in batch:
                driver = self.nodes[target].driver
                if sender is None:
                    driver.synced(what)  # type: ignore[arg-type]
                else:
                    driver.received(sender, Incarnation(1), what)  # type: ignore[arg-type]
            ended = False
            for place in self.nodes.values():
                if place.turn_ends:
                    place.turn_ends, ended = False, True
                    place.driver._finish_turn()
            if not ended and not self.events:
                return


def run_load(house: House, kind: Kind, count: int, batch: int) -> float:
    """Run `count` requests, `batch` per node and turn; return CPU microseconds per request."""
    done = [0]

    def answered(result: Result) -> None:
        assert result.status in (Status.CREATED, Status.REPLACED, Status.FOUND), result
        done[0] += 1

    number = 0
    requests: list[Request] = []
    for number in range(count):
        key = b"key%d" % (number * 7919 % KEYS)
        requests.append(Request(kind, key, VALUE if kind == Kind.PUT else b"", done=answered))
    places = list(house.nodes.values())
    start = time.process_time()
    at = 0
    while at < count:
        for place in places:
            for request in requests[at : at + batch]:
                place.driver.submit(request)
            at += batch
        house.now += 2
        house.run()
    spent = time.process_time() - start
    assert done[0] == count, f"{done[0]} of {count} were answered"
    return spent / count * 1e6


def main() -> None:
    """Print the cost of PUT and GET for several batch sizes."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--count", type=int, default=30_000)
    parser.add_argument("--profile", choices=["put", "get"])
    options = parser.parse_args()
    house = House(256)
    run_load(house, Kind.PUT, KEYS, 20)
    if options.profile:
        kind = Kind.PUT if options.profile == "put" else Kind.GET
        profile = cProfile.Profile()
        profile.runcall(run_load, house, kind, options.count, 10)
        pstats.Stats(profile).sort_stats("tottime").print_stats(30)
        return
    for batch in (1, 5, 10, 20, 50):
        put = run_load(house, Kind.PUT, options.count, batch)
        get = run_load(house, Kind.GET, options.count, batch)
        print(f"batch {batch:>3} per node: PUT {put:6.1f} µs   GET {get:6.1f} µs   (CPU, all three nodes)")


if __name__ == "__main__":
    main()
