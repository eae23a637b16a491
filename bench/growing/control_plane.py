"""The control plane of large clusters without servers: one real controller, and heartbeats of all the others.

The controller, the failure detector and the planner are those of the product, as compiled; the time in which
heartbeats come is simulated. Measured is the processor time of the turn that plans, and of encoding its map.
How long the other nodes' links and ZooKeeper would take is not in it: a map counts as written when the
controller hands it over to be written.
"""

import random
import statistics
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from ringkeep.core.cluster.planner import form
from ringkeep.core.context import Context
from ringkeep.core.control.controller import Controller
from ringkeep.core.control.copy_survey import CopySurvey
from ringkeep.core.liveness.failure_detector import Detector
from ringkeep.core.liveness.heartbeat_relay import Relay
from ringkeep.core.protocol import limits
from ringkeep.core.protocol.cluster_map import ClusterMap, Member
from ringkeep.core.protocol.effects import MapWrite
from ringkeep.core.protocol.messages import Heartbeat
from ringkeep.core.protocol.types import Epoch, Incarnation, MapVersion, Millis, NodeId
from ringkeep.storage.memory import MemoryEngine
from ringkeep.wire import mapcodec

NODES: Final = (10, 50, 200)
PARTITIONS: Final = (256, 1_024, 4_096)
CLUSTER: Final = "f" * 32
CALM_MS: Final = 1_500  # before something happens: the controller has planned once by then
PATIENCE_MS: Final = 10_000  # after which no map will be written any more
AGE: Final = 50  # epochs, lives and changes of a map that has been in use are drawn up to so many


def member(number: int, nodes: int, partitions: int, lot: int) -> Member:
    """A node in a zone of its own. `lot`: which run it is of; every run has nodes that are not known yet."""
    host = f"10.{lot % 256}.{number // 250}.{number % 250}"
    return Member(
        NodeId(f"{lot:016x}{number:016x}"), f"node-{number}", f"{host}:8000", f"{host}:8002",
        f"node-{number}", 1, nodes, min(3, nodes), partitions, Incarnation(1), MapVersion(1), CLUSTER,
        sequence=number,
    )  # fmt: skip


def aged(cluster_map: ClusterMap) -> ClusterMap:
    """Return the map as it is after many failovers, restarts and moves: its columns compress less well."""
    draw = random.Random(1)
    lives = {node.id: Incarnation(draw.randint(1, AGE)) for node in cluster_map.nodes}
    nodes = tuple(replace(node, incarnation=lives[node.id]) for node in cluster_map.nodes)
    partitions = tuple(
        replace(
            part,
            epoch=Epoch(draw.randint(1, AGE)),
            config=MapVersion(draw.randint(1, AGE * AGE)),
            incarnation=lives[part.primary],
        )
        for part in cluster_map.partitions
    )
    return replace(cluster_map, version=MapVersion(AGE * AGE), nodes=nodes, partitions=partitions)


class World:
    """A controller, and what it hears of the others. `me`: its place among the members."""

    def __init__(self, cluster_map: ClusterMap, members: Sequence[Member], me: int = 0) -> None:
        self.members = list(members)
        self.context = Context(members[me].id, Incarnation(1), MemoryEngine())
        self.context.cluster_map = cluster_map
        self.detector = Detector(self.context)
        self.relay = Relay(self.context, self.detector)
        copies = CopySurvey(self.context, {})
        self.controller = Controller(
            self.context, self.relay, copies, mapcodec.size, cluster_map.cluster, CLUSTER
        )
        self.controller.connected = True
        self.controller.map_digest = self._digest = zlib.crc32(mapcodec.encode(cluster_map))
        self.detector.set_peers([each.id for each in members if each.id != self.context.me])
        self.context.links = {peer: Incarnation(1) for peer in self.detector.peers}
        self.controller.on_members(self.members)
        self._active: dict[NodeId, bytes] = {}
        for each in members:
            led = sum(1 << p for p, part in enumerate(cluster_map.partitions) if part.primary == each.id)
            self._active[each.id] = led.to_bytes((led.bit_length() + 7) // 8, "little")
        self._version = cluster_map.version
        self._dead: NodeId | None = None
        self._noticed_at: Millis = 0
        self._told = False

    def kill(self, node: NodeId, refuses: bool) -> None:
        """A node ends. Either its machine refuses connections at once, or nothing is heard any more."""
        self._dead = node
        self._noticed_at = self.context.now + (0 if refuses else limits.SUSPECT_AFTER_MS)
        if refuses:
            self.detector.on_down(node, True)

    def tick(self) -> tuple[MapWrite | None, float]:
        """Let TICK_MS pass; return the map that is written, and the processor time of the controller's turn.

        Every node is heard once in HEARTBEAT_MS, and at once when it has just noticed the death.
        """
        now = self.context.now + limits.TICK_MS
        self.context.begin(now)
        noticed = self._dead is not None and now > self._noticed_at
        news, self._told = noticed and not self._told, noticed
        suspects = [self._dead] if noticed and self._dead is not None else []
        turn = now // limits.TICK_MS
        every = limits.HEARTBEAT_MS // limits.TICK_MS
        for number, peer in enumerate(self.detector.peers):
            if peer != self._dead and (news or (number + turn) % every == 0):
                beat = Heartbeat(
                    self._version, self._digest, 1, turn, self.detector.probe, suspects,
                    self._active.get(peer, b""), ready=True,
                )  # fmt: skip
                before = self.detector.beat_of(peer)
                self.detector.hear(peer, now)
                self.detector.on_heartbeat(peer, beat)
                if before is None or before.suspects != suspects:
                    self.controller.look_again()
        began = time.process_time()
        mine = self._active[self.context.me]
        if self.detector.on_tick(self._version, self._digest, mine, True, [], [], True):
            self.relay.pass_on()
            if self.detector.changed:
                self.controller.look_again()
        self.controller.on_tick(mine)
        took = time.process_time() - began
        effects, _ = self.context.end()
        return effects.map_write, took

    def calm(self) -> None:
        """Let some time pass in which no map is due."""
        for _ in range(CALM_MS // limits.TICK_MS):
            write, _ = self.tick()
            assert write is None, "nothing has happened: no map is due"

    def until_written(self) -> dict[str, float]:
        """Return how long it takes until the next map is ready for ZooKeeper: times in ms, and its bytes."""
        began, computed = self.context.now, 0.0
        while self.context.now < began + PATIENCE_MS:
            write, took = self.tick()
            computed = max(computed, took)
            if write is not None:
                at = time.process_time()
                size = len(mapcodec.encode(write.next_map))
                encoded = time.process_time() - at
                return {
                    "noticed_ms": self.context.now - began,
                    "planned_ms": 1e3 * computed,
                    "encoded_ms": 1e3 * encoded,
                    "total_ms": self.context.now - began + 1e3 * (computed + encoded),
                    "bytes": size,
                }
        raise AssertionError(f"no map was written within {PATIENCE_MS} ms")


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """Return what the work returns, and the milliseconds of processor time that it takes."""
    began = time.process_time()
    done = work()
    return done, 1e3 * (time.process_time() - began)


def once(nodes: int, partitions: int, lot: int) -> dict[str, float]:
    """Measure each thing once, in a cluster whose nodes nobody has planned with before."""
    members = [member(number, nodes, partitions, lot) for number in range(nodes)]
    formed, form_ms = timed(lambda: form(members, "growth", CLUSTER))
    used = aged(formed)
    payload, encode_ms = timed(lambda: mapcodec.encode(used))
    _, decode_ms = timed(lambda: mapcodec.decode(payload))
    members = [
        replace(each, incarnation=node.incarnation)
        for each, node in zip(members, used_in_order(used, members), strict=True)
    ]
    found = {
        "form_ms": form_ms,
        "new_bytes": float(len(mapcodec.encode(formed))),
        "bytes": float(len(payload)),
        "encode_ms": encode_ms,
        "decode_ms": decode_ms,
    }
    for name, count in (("join", 1), ("joins", nodes)):
        newcomers = [replace(member(nodes + n, nodes, partitions, lot), cluster_id="") for n in range(count)]
        world = World(used, members)
        world.calm()
        world.controller.on_members([*members, *newcomers])
        for what, value in world.until_written().items():
            found[f"{name}_{what}"] = value
    for whose, me, victim in (("node", 0, -1), ("controller", 1, 0)):
        for how, refuses in (("refused", True), ("silent", False)):
            world = World(used, members, me)
            world.calm()
            world.kill(members[victim].id, refuses)
            for what, value in world.until_written().items():
                found[f"{whose}_{how}_{what}"] = value
    return found


def used_in_order(cluster_map: ClusterMap, members: Sequence[Member]) -> list[Any]:
    """Return the map's nodes in the order of the members."""
    known = {node.id: node for node in cluster_map.nodes}
    return [known[each.id] for each in members]


def measure(rounds: int, nodes: Sequence[int], partitions: Sequence[int]) -> list[dict[str, Any]]:
    """Return one row for each size of cluster: the medians of the rounds. Prints each."""
    rows = []
    for number, (count, size) in enumerate([(n, q) for n in nodes for q in partitions]):
        found = [once(count, size, 1_000 * (number + 1) + lot) for lot in range(rounds)]
        medians = {what: statistics.median(each[what] for each in found) for what in found[0]}
        rows.append({"nodes": count, "partitions": size} | medians)
        shown = (
            "join_planned_ms",
            "joins_planned_ms",
            "bytes",
            "node_refused_total_ms",
            "node_silent_total_ms",
        )
        print(
            f"{count} nodes, {size:,} partitions: "
            + ", ".join(f"{what} {medians[what]:,.1f}" for what in shown),
            flush=True,
        )
    return rows
