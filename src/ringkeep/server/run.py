"""One node's process: opens everything in order, runs the loop, and closes everything in order.

The HTTP port answers from the beginning, so that /readyz can say what the node waits for. Data is served
once the driver allows it.
"""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Literal
from uuid import uuid4

import ringkeep
from ringkeep.admission import Claim
from ringkeep.core.cluster import feature_level
from ringkeep.core.node import Node
from ringkeep.core.protocol import limits
from ringkeep.core.protocol.client_requests import ListRequest, ReadGroup, Request, Status
from ringkeep.core.protocol.cluster_map import Member
from ringkeep.core.protocol.feed import FeedRequest
from ringkeep.core.protocol.types import MapVersion, Millis
from ringkeep.descriptors import Shares, raise_limit, shares_of
from ringkeep.driver.enrolment import Start
from ringkeep.driver.turns import DISK_FAILED, Driver
from ringkeep.errors import RingkeepError, StartError, StorageDamaged, StorageError
from ringkeep.exit_codes import FAILED, OK, REFUSED
from ringkeep.histogram import Histogram
from ringkeep.http.server import HttpServer, serve_http
from ringkeep.http.service import Sample
from ringkeep.ports import Ending, Ports
from ringkeep.process import PidFile, run_in_batches, start_log
from ringkeep.server.coordinated import coordinated
from ringkeep.server.late import Late
from ringkeep.server.lives import RENEWED, failed, run_lives
from ringkeep.server.metrics import samples
from ringkeep.server.operator_service import OperatorService
from ringkeep.server.views import Views
from ringkeep.settings import NodeSettings
from ringkeep.status.move_history import MoveHistory
from ringkeep.storage.group_commit import GroupCommit
from ringkeep.storage.identity import Identity
from ringkeep.storage.rocks import RocksEngine, open_engine
from ringkeep.storage.room import RoomWatch
from ringkeep.transport.links import PeerNetwork
from ringkeep.transport.listener import Room
from ringkeep.wire import handshake, mapcodec

SWITCH_INTERVAL_S: Final = 0.002  # the storage thread gets the interpreter soon, also during a long turn
HAND_OVER_S: Final = 10.0
FINISH_S: Final = 5.0
CLOSE_S: Final = 10.0  # for the last sync, and for what the store does in the background
LOOK_S: Final = 0.2  # between two checks of what the node waits for

ALONE: Final = (
    "One node, for development: it tolerates no failure, and what its disk loses is lost.\n"
    "Data and log are in {data}. Ctrl-C stops it; the data stays."
)

log = logging.getLogger("ringkeep.node")


def run_node(settings: NodeSettings) -> int:
    """Run a node until it is told to stop; return the exit code. One clear line on stderr when it fails."""
    try:
        with PidFile.take(settings.data):
            start_log(settings.data, settings.name, settings.log_level)
            for warning in settings.warnings:
                log.warning(warning)
            return run_lives(settings, _serve)
    except RingkeepError as error:
        return failed(settings, error)


def _say(text: str) -> None:
    """Print it, and log it. A closed terminal does not stop the node."""
    for line in text.splitlines():
        log.info("%s", line)
    with contextlib.suppress(OSError, ValueError):
        print(text, flush=True)


def _serve(settings: NodeSettings, identity: Identity) -> int:
    """Open the store and serve; return the exit code, or RENEWED. Raises StorageDamaged if it is lost."""
    shares = shares_of(raise_limit())
    engine = open_engine(settings.data, shares.tables)
    if engine.damaged:
        if settings.alone:
            engine.close()
            raise StorageDamaged(f"the store in {settings.data} has lost durable data, see its log")
        log.error("the store has lost durable data: its replicas do not vote until they are refilled")
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    run_in_batches()
    new_loop: Callable[[], asyncio.AbstractEventLoop] | None = None
    with contextlib.suppress(ImportError):  # asyncio's own loop will do
        from uvloop import new_event_loop as new_loop
    server = Server(settings, identity, engine, shares)
    try:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            return runner.run(server.run())
    except StorageDamaged:
        engine.close()  # the files are renamed next
        raise


class Server:
    """A node assembled. Passes `driver.Shell`, `ports.Clock` and `http.Service`."""

    def __init__(
        self, settings: NodeSettings, identity: Identity, engine: RocksEngine, shares: Shares
    ) -> None:
        self.name = settings.name
        self._shares = shares
        self._settings = settings
        self._identity = identity
        self._engine = engine
        self._over = asyncio.Event()
        self._code = OK
        self._stopping = False
        self._all_durable = False
        self._in_flight = 0
        self._waited_for: list[str] | None = None

    # --- life -----------------------------------------------------------------------------------------

    async def run(self) -> int:
        """Serve until a signal, or a reason to stop, and return the exit code."""
        self._loop = asyncio.get_running_loop()
        http: HttpServer | None = None
        self._assemble()
        try:
            await self._listen_to_peers()
            http = await serve_http(
                self, *self._settings.http_listener, self._loop,
                advertise=(self._settings.advertise_http,), allowed_hosts=self._settings.allowed_hosts,
                value_bytes=self._settings.value_bytes,
                clients=self._shares.clients, burst=self._shares.burst,
            )  # fmt: skip
            for number in (signal.SIGTERM, signal.SIGINT):
                self._loop.add_signal_handler(number, self.on_signal)
            self._coordination.start()
            gc.collect()
            gc.freeze()  # what is loaded now stays: the collector need not visit it again
            gc.set_threshold(50_000, 20, 20)
            self._tick()
            self._loop.call_later(LOOK_S, self._say_what_is_waited_for)
            log.info(
                "%s serves HTTP on %s, peers on %s", self.name, self._settings.http,
                self._settings.peer or "no port: it is alone",
            )  # fmt: skip
            await self._over.wait()
            if self._code == OK:
                await self._hand_over()
        finally:
            await self._end(http)
        return self.exit_code

    @property
    def exit_code(self) -> int:
        """The process's exit code, or RENEWED."""
        if self._code == RENEWED and self._stopping:
            return OK  # asked to stop meanwhile: the next start learns again that this node was given up
        return self._code

    def _assemble(self) -> None:
        settings, identity = self._settings, self._identity
        self._history = MoveHistory()
        node = Node(
            identity.node_id, identity.incarnation, self._engine, mapcodec, settings.cluster, uuid4().hex,
            self.now(), listener=self._history,
        )  # fmt: skip
        node.context.damaged = self._engine.damaged
        node.context.bounds = replace(node.context.bounds, history_bytes=settings.history_bytes)
        self._node = node
        self._peer_identity = handshake.PeerIdentity(
            settings.cluster, identity.cluster_id, identity.node_id, identity.incarnation, settings.name,
            ringkeep.__version__,
        )  # fmt: skip
        held = node.context.cluster_map
        member = Member(
            identity.node_id, settings.name, settings.advertise_http, settings.advertise_peer, settings.zone,
            settings.weight, settings.expect, settings.replication, settings.partitions, identity.incarnation,
            held.version if held is not None else MapVersion(0), identity.cluster_id, ringkeep.__version__,
            feature_level=feature_level.NEWEST,
        )  # fmt: skip
        peers, membership = Late(), Late()
        room = Room(self._shares.openings, self._shares.peers, self._shares.burst)
        self._network = PeerNetwork(self._loop, self._peer_identity, peers, room)
        self._coordination = coordinated(settings, self._loop, membership, held)
        self._syncer = GroupCommit(
            self._engine,
            self._loop,
            lambda ticket: self._driver.synced(ticket),
            lambda e: self._driver.disk_failed(e),
        )
        self._room = RoomWatch(settings.data, settings.disk_reserve_bytes, self._engine.make_room)
        self._engine.used_up = self._room.used_up
        ports = Ports(self._engine, self._syncer, self._network, self._coordination, self, self, mapcodec)
        insisted = settings.partitions if settings.partitions_given else None
        start = Start(uuid4().hex, identity.claims, insisted)
        self._driver = peers.sink = Driver(node, ports, member, settings.disk_reserve_bytes, start)
        membership.sink = self._driver.membership
        self._views = Views(
            node, ringkeep.__version__, lambda: self._coordination.trouble, self._network.troubles, self.now,
            alone=settings.alone,
        )  # fmt: skip
        self._operators = OperatorService(node, self._history, self._views, settings.name)

    async def _listen_to_peers(self) -> None:
        if self._settings.alone:
            return
        host, port = self._settings.peer_listener
        try:
            await self._network.listen(host, port)
        except OSError as error:
            raise StartError(
                f"cannot listen for peers on {self._settings.peer}: {error.strerror or error};"
                " stop what listens there, or choose another address (--peer)"
            ) from error

    def _tick(self) -> None:
        self._loop.call_later(limits.TICK_MS / 1000, self._tick)
        self._driver.tick()

    def _say_what_is_waited_for(self) -> None:
        """Print why this node is not ready, or that it is and where it serves, at every change."""
        if self._stopping:
            return
        waiting = self._waiting()
        if waiting != self._waited_for:
            where = f"ready: http://{self._settings.advertise_http}"
            _say(f"{self.name} is {'not ready: ' + '; '.join(waiting) if waiting else where}")
            if self._settings.alone and not waiting:
                _say(ALONE.format(data=self._settings.data))
        self._waited_for = waiting
        self._loop.call_later(LOOK_S, self._say_what_is_waited_for)

    def on_signal(self) -> None:
        """Stop in order; at the second signal, at once."""
        if self._stopping:
            log.warning("a second signal: stopping at once")
            os._exit(FAILED)
        self._stopping = True
        self._over.set()

    async def _hand_over(self) -> None:
        """Hand the primaryships to other nodes, for at most HAND_OVER_S, as long as any can take them."""
        log.info("stopping: handing primaryships over")
        self._stopping = True
        self._node.context.draining = True
        deadline = self._loop.time() + HAND_OVER_S
        while self._loop.time() < deadline and self._node.controller.addressee() is not None:
            primaries = list(self._node.primaries.values())
            if not self._node.handover.can_hand_over(primaries):
                break
            await asyncio.sleep(limits.TICK_MS / 1000)
        while self._node.coordinator.unfinished and self._loop.time() < deadline:
            await asyncio.sleep(limits.TICK_MS / 1000)

    async def _end(self, http: HttpServer | None) -> None:
        if http is not None:
            await http.close(FINISH_S if self._code == OK else 0.2)
        self._driver.halt()
        await self._bounded(self._sync_last)
        await self._leave_mark()
        await self._coordination.stop()
        await self._network.close()
        await self._bounded(self._close_store)
        log.info("stopped")

    def _sync_last(self) -> None:
        """Make all writes durable, acknowledged or not."""
        self._room.close()
        self._syncer.close()
        if self._code == OK:
            try:
                self._engine.flush()
                self._all_durable = True
            except StorageError as error:
                log.critical("%s%s", DISK_FAILED, error)
                self._code = FAILED

    async def _leave_mark(self) -> None:
        """Record how far everything is durable: an older copy of the directory is recognised by it."""
        last = self._driver.enrolment.last_mark()
        if last is None or not self._all_durable:
            return
        if not await self._coordination.leave_mark(self._identity.node_id, *last):
            log.warning("the mark of how far this node's data is durable was not confirmed")

    def _close_store(self) -> None:
        with contextlib.suppress(StorageError):
            self._engine.close()

    async def _bounded(self, call: Callable[[], None]) -> None:
        """Run it in a thread; if the disk blocks it for longer than CLOSE_S, end the process."""
        thread = threading.Thread(target=call, daemon=True)
        thread.start()
        deadline = self._loop.time() + CLOSE_S
        while thread.is_alive():
            if self._loop.time() > deadline:
                log.critical("%sit does not answer; the process ends without waiting for it", DISK_FAILED)
                os._exit(FAILED)  # nothing else ends a thread that waits for the disk
            await asyncio.sleep(limits.TICK_MS / 1000)

    # --- driver.Shell and ports.Clock -----------------------------------------------------------------

    def now(self) -> Millis:
        """Milliseconds of the loop's monotonic clock."""
        return int(self._loop.time() * 1000)

    def soon(self, call: Callable[[], None]) -> None:
        self._loop.call_soon(call)

    def later(self, delay_ms: Millis, call: Callable[[], None]) -> None:
        self._loop.call_later(delay_ms / 1000, call)

    def joined(self, cluster_id: str) -> None:
        self._identity.join(self._settings.cluster, cluster_id)
        self._peer_identity.cluster_id = cluster_id
        log.info("%s belongs to the cluster %s (%s)", self.name, self._settings.cluster, cluster_id)

    def claiming(self, claims: Sequence[Claim]) -> None:
        self._identity.claim(claims)

    def superseded(self) -> None:
        self._identity.supersede()

    def departed(self) -> None:
        self._identity.leave()

    def alarm(self, text: str) -> None:
        log.error(text)

    def stop(self, reason: str, ending: Ending) -> None:
        log.log(logging.INFO if ending is Ending.LEFT else logging.CRITICAL, reason)
        self._code = {
            Ending.LEFT: OK, Ending.RETIRED: RENEWED, Ending.REFUSED: REFUSED, Ending.FAILED: FAILED,
            Ending.DISK: FAILED,
        }[ending]  # fmt: skip
        self._over.set()

    def disk_free(self) -> tuple[int, int]:
        return self._room.seen

    # --- http.Service ---------------------------------------------------------------------------------

    def submit(self, request: Request) -> None:
        self._driver.submit(request)

    def submit_reads(self, group: ReadGroup) -> None:
        self._driver.submit_reads(group)

    def submit_listing(self, request: ListRequest) -> None:
        self._driver.submit_listing(request)

    def submit_feed(self, request: FeedRequest) -> Status | None:
        return self._driver.submit_feed(request)

    def pull_feed(self, request: FeedRequest, size: int) -> None:
        self._driver.pull_feed(request, size)

    def close_feed(self, request: FeedRequest) -> None:
        self._driver.close_feed(request)

    def partitioning(self) -> tuple[str, int]:
        held = self._node.context.cluster_map
        assert held is not None, "asked only while this node serves"
        return held.cluster_id, len(held.partitions)

    def serving(self) -> str | None:
        if self._driver.serving:
            return None
        waiting = self._waiting()
        return "; ".join(waiting) or "this node is starting"

    def cluster(self) -> dict[str, Any]:
        return self._views.cluster()

    def partitions(self) -> dict[str, Any]:
        return self._views.partitions()

    def where(self, key: bytes) -> dict[str, Any]:
        return self._views.where(key)

    def moves(self) -> dict[str, Any]:
        return self._operators.moves()

    def plan(self, action: Literal["join", "leave"], name: str, zone: str, weight: int) -> dict[str, Any]:
        return self._operators.plan(action, name, zone, weight)

    def steer(self, verb: str, name: str, weight: int = 0) -> dict[str, Any]:
        return self._operators.steer(verb, name, weight)

    def hold_moves(self, verb: Literal["pause", "resume", "cancel"]) -> dict[str, Any]:
        return self._operators.hold_moves(verb)

    def change_settings(self, wanted: Mapping[str, int]) -> dict[str, Any]:
        return self._operators.change_settings(wanted)

    def recover_partitions(self, partitions: Sequence[int], lost: Sequence[str]) -> dict[str, Any]:
        return self._operators.recover_partitions(partitions, lost)

    def map_copy(self) -> dict[str, Any]:
        return self._operators.map_copy()

    def ready(self) -> tuple[bool, list[str]]:
        if self._stopping:
            return False, ["this node is stopping"]
        waiting = self._waiting()
        return not waiting, waiting

    def _waiting(self) -> list[str]:
        other = self._driver.enrolment.waiting_for
        return [other] if other else self._views.waiting_for(self._settings.expect)

    def version(self) -> dict[str, Any]:
        return {
            "version": ringkeep.__version__,
            "protocol": self._peer_identity.protocol_high,
            "name": self.name,
        }

    def metrics(self) -> Iterable[Sample]:
        return samples(self._driver, self._history, self._views)

    def times(self) -> Iterable[tuple[str, str, Histogram]]:
        return [("sync_seconds", "How long the disk took to make a batch durable.", self._syncer.times)]
