"""Three real cores, and a text that moves everything by hand: what is delivered, and when a disk has synced.

Each command prints what the nodes then say and write, one line each. Nothing happens that the text does not
ask for: no clock runs, no message arrives, no write becomes durable. The commands are the `do_` methods.
Heartbeats, sizes and pushed maps are left out: who leads is told by `map`.
"""

from collections import deque
from collections.abc import Callable
from operator import methodcaller
from typing import Any

from tests.support.core.parts import bound

from ringkeep.core.context import Durable
from ringkeep.core.node import Node
from ringkeep.core.protocol import hot_messages as hot
from ringkeep.core.protocol import messages as m
from ringkeep.core.protocol.client_requests import ABSENT, ANY, Kind, Request, Result, Status
from ringkeep.core.protocol.cluster_map import ClusterMap, Member, NodeInfo, Partition
from ringkeep.core.protocol.effects import Batch, Family
from ringkeep.core.protocol.entry import decode
from ringkeep.core.protocol.messages import Message
from ringkeep.core.protocol.rows import MAP_KEY, applied_key, decode_applied, decode_promised, promised_key
from ringkeep.core.protocol.types import Epoch, Incarnation, Index, MapVersion, NodeId, PartitionId
from ringkeep.storage.memory import MemoryEngine
from ringkeep.wire import mapcodec

ONLY = PartitionId(0)
FIRST = ("n1", "n2", "n3")  # those of every story; `newcomer` brings n4
IDS = {name: NodeId(f"{number:032x}") for number, name in enumerate((*FIRST, "n4"), 1)}
NAMES = {node: name for name, node in IDS.items()}
UNSAID = (m.Heartbeat, m.MapPush, m.Sizes)


class Machine:
    """One node, its disk, and what its last turns still wait for."""

    def __init__(self) -> None:
        self.engine = MemoryEngine()
        self.incarnation = Incarnation(0)
        self.waiting: deque[tuple[int, Durable]] = deque()
        self.node: Node


class Story:
    """Runs commands; each returns the lines that it caused."""

    def __init__(self) -> None:
        self.now = 0
        self.version = 0
        self.requests = 0
        self.labels: dict[int, str] = {}
        self.mail: dict[tuple[str, str], deque[list[m.Message]]] = {}
        self.lines: list[str] = []
        self.replicas: dict[str, Any] = {}
        self.config = 1
        self.window: int | None = None
        self.machines = {name: Machine() for name in FIRST}
        for name in FIRST:
            self.do_start(name)

    def run(self, command: str) -> str:
        """Carry out one line of the text; return what came of it."""
        self.lines = []
        word, *arguments = command.split()
        getattr(self, f"do_{word}")(*arguments)
        return "\n".join(self.lines) or "(nothing)"

    def turn(self, name: str, event: Callable[[Node], Any]) -> None:
        """One turn of a node: the event, then its effects in the driver's order."""
        machine = self.machines[name]
        node = machine.node
        node.begin_turn(self.now)
        event(node)
        effects, durable = node.end_turn()
        if effects.batch:
            self.say(name, f"writes {written(effects.batch)}")
            machine.engine.write(effects.batch)
        if durable:
            machine.waiting.append((machine.engine.written, durable))
        for peer, _, messages in effects.frames():
            spoken: list[Message] = [each for each in messages if not isinstance(each, UNSAID)]
            for message in spoken:
                self.say(name, f"-> {NAMES[peer]}  {spell(message)}")
            if spoken and peer in node.context.links:
                self.mail.setdefault((name, NAMES[peer]), deque()).append(spoken)
        for request, result in effects.answers:
            self.say(name, f"answers {self.labels[id(request)]}: {spell_result(result)}")
        for alarm in effects.alarms:
            self.say(name, f"raises an alarm: {alarm}")

    def say(self, name: str, text: str) -> None:
        self.lines.append(f"{name} {text}")

    # --- the commands --------------------------------------------------------------------------------------

    def do_start(self, name: str) -> None:
        """Start a process on what its disk holds, and connect it with those that run."""
        machine = self.machines[name]
        machine.incarnation = Incarnation(machine.incarnation + 1)
        machine.node = Node(
            IDS[name], machine.incarnation, machine.engine, mapcodec, "story", "1" * 32, self.now
        )
        if self.window is not None:
            bound(machine.node.context, log_entries=self.window)
        for other in self.machines:
            if other != name and hasattr(self.machines[other], "node"):
                self.do_link(name, other)

    def do_newcomer(self, name: str) -> None:
        """Start a process on a machine that is not in the map yet."""
        self.machines[name] = Machine()
        self.do_start(name)

    def do_window(self, entries: str) -> None:
        """Let logs keep so few applied entries."""
        self.window = int(entries)
        for machine in self.machines.values():
            bound(machine.node.context, log_entries=self.window)

    def do_crash(self, name: str) -> None:
        """End a process; what was not synced is lost, and so is what it had sent."""
        machine = self.machines[name]
        machine.engine.crash(lambda count: 0)
        machine.engine = machine.engine.reopen()
        machine.waiting.clear()
        del machine.node
        for other in self.machines:
            if other != name:
                self.do_cut(name, other)

    def do_link(self, one: str, other: str) -> None:
        for here, there in ((one, other), (other, one)):
            if hasattr(self.machines[here], "node"):
                life = self.machines[there].incarnation
                self.turn(here, methodcaller("on_peer_up", IDS[there], life))

    def do_cut(self, one: str, other: str) -> None:
        """Break the connections between two nodes, with all that is on its way."""
        for here, there in ((one, other), (other, one)):
            self.mail.pop((here, there), None)
            if hasattr(self.machines[here], "node"):
                self.turn(here, methodcaller("on_peer_down", IDS[there], False))

    def do_map(self, leader: str, epoch: str, *rest: str) -> None:
        """A new map, read by these nodes (all, if none is named): `map n2 epoch=2 n2 n3`.

        `voters=n1,n2,n4 old=n1,n2,n3` or `learner=n4 replaces=n3` change the replicas, until the next change;
        `order=n2,n3,n1` only who is preferred.
        """
        said = dict(word.split("=") for word in rest if "=" in word)
        readers = [word for word in rest if "=" not in word]
        self.version += 1
        if "order" in said:
            self.replicas["voters"] = said["order"]
        elif said:
            self.replicas, self.config = said, self.version
        nodes = tuple(
            NodeInfo(IDS[name], name, name, name, name, 1, machine.incarnation)
            for name, machine in self.machines.items()
        )
        life = self.machines[leader].incarnation
        now = {key: tuple(IDS[name] for name in names.split(",")) for key, names in self.replicas.items()}
        part = Partition(
            Epoch(int(epoch[6:])), IDS[leader], life, now.get("voters", tuple(IDS[name] for name in FIRST)),
            MapVersion(self.config), now.get("old", ()), now.get("learner", (None,))[0],
            now.get("replaces", (None,))[0],
        )  # fmt: skip
        payload = mapcodec.encode(ClusterMap(MapVersion(self.version), "story", "1" * 32, 3, nodes, (part,)))
        for name in readers or self.machines:
            self.turn(name, lambda node: node.take_map(payload))

    def do_next(self, path: str) -> None:
        """Deliver only the first frame that is on its way along this path."""
        sender, receiver = path.split("->")
        frame = self.mail[sender, receiver].popleft()
        life = self.machines[sender].incarnation
        self.turn(receiver, lambda node: node.on_messages(IDS[sender], life, frame))

    def do_deliver(self, *paths: str) -> None:
        """Deliver everything that is on its way along these paths, `n1->n2`, at this moment."""
        for path in paths:
            sender, receiver = path.split("->")
            frames = self.mail.pop((sender, receiver), deque())
            assert frames, f"nothing is on its way along {path}"
            life = self.machines[sender].incarnation
            for frame in frames:
                self.turn(receiver, methodcaller("on_messages", IDS[sender], life, frame))

    def do_lose(self, *paths: str) -> None:
        for path in paths:
            sender, receiver = path.split("->")
            assert self.mail.pop((sender, receiver), None), f"nothing is on its way along {path}"

    def do_repeat(self, path: str) -> None:
        """Let the last frame on its way along this path be there twice."""
        sender, receiver = path.split("->")
        self.mail[sender, receiver].append(self.mail[sender, receiver][-1])

    def do_sync(self, *names: str) -> None:
        """The disks of these nodes have synced all that was written."""
        for name in names:
            machine = self.machines[name]
            machine.engine.flush()
            waiting, machine.waiting = machine.waiting, deque()

            def settle(node: Node, waiting: deque[tuple[int, Durable]] = waiting) -> None:
                for _, durable in waiting:
                    node.settle(durable)

            self.turn(name, settle)

    def do_settle(self, *names: str) -> None:
        """Deliver and sync between these nodes (all) until nothing is left to do; print only the end."""
        among = names or tuple(name for name, machine in self.machines.items() if hasattr(machine, "node"))
        while True:
            paths = [f"{a}->{b}" for a in among for b in among if self.mail.get((a, b))]
            dirty = [name for name in among if self.machines[name].waiting]
            if not paths and not dirty:
                break
            self.do_deliver(*paths)
            self.do_sync(*dirty)
        self.lines = [line for line in self.lines if " answers " in line]
        self.do_show(*among)

    def do_tick(self, name: str, time_ms: str) -> None:
        """Time passes, and only this node looks at its clock."""
        self.now += int(time_ms)
        self.turn(name, lambda node: node.on_tick())

    def do_line(self, *names: str) -> None:
        """The members' line, in this order: the first is the controller, to whom primaries report."""
        line = [
            Member(
                IDS[name], name, name, name, name, 1, 3, 3, 1, machine.incarnation, MapVersion(0), sequence=at
            )
            for at, name in enumerate(names)
            for machine in (self.machines[name],)
        ]
        for name in names:
            self.machines[name].node.controller.connected = True
            self.turn(name, lambda node: node.on_members(line))

    def do_answer(self, name: str) -> None:
        """Heartbeats of all others arrive at this node: they answer, and have caught up."""
        detector = self.machines[name].node.detector
        for other in self.machines:
            if other != name:
                beat = m.Heartbeat(MapVersion(self.version), 0, 1, 1, detector.probe, [], ready=True)
                self._inject(f"{other}->{name}", beat)

    def do_ack(self, path: str, epoch: str, index: str) -> None:
        """An Acks for a part of what was sent: `ack n3->n1 4 2`."""
        self._inject(path, hot.Acks([ONLY, int(epoch), int(index)]))

    def do_commits(self, path: str, epoch: str, index: str) -> None:
        """A Commits that overtakes an Append: `commits n2->n3 2 3`."""
        self._inject(path, hot.Commits(0, [ONLY, int(epoch), int(index)]))

    def _inject(self, path: str, message: m.Message) -> None:
        sender, receiver = path.split("->")
        life = self.machines[sender].incarnation
        self.turn(receiver, lambda node: node.on_messages(IDS[sender], life, [message]))

    def do_get(self, name: str, key: str) -> None:
        self._submit(name, Request(Kind.GET, key.encode()))

    def do_put(self, name: str, pair: str, condition: str = "") -> None:
        key, value = pair.split("=")
        wanted = ANY if not condition else ABSENT if condition == "if=absent" else int(condition[3:])
        self._submit(name, Request(Kind.PUT, key.encode(), value.encode(), condition=wanted))

    def do_delete(self, name: str, key: str) -> None:
        self._submit(name, Request(Kind.DELETE, key.encode()))

    def _submit(self, name: str, request: Request) -> None:
        self.requests += 1
        self.labels[id(request)] = f"r{self.requests}"
        self.kept = [*getattr(self, "kept", []), request]
        self.turn(name, lambda node: node.submit(request))

    def do_show(self, *names: str) -> None:
        """Print where replicas stand: promise, log as epoch/index, commit, applied, role."""
        for name in names or self.machines:
            replica = self.machines[name].node.replicas.get(ONLY)
            if replica is None:
                stored = self.machines[name].engine.get(Family.META, promised_key(ONLY))
                kept = decode_promised(stored).epoch if stored else 0
                self.say(name, f"has no replica, promised {kept}")
                continue
            log, promised = replica.log, replica.promised
            entries = " ".join(
                spell_entry(log[Index(i)]) for i in range(log.floor_index + 1, log.last_index + 1)
            )
            primary = self.machines[name].node.primaries.get(ONLY)
            role = f", {primary.phase.name}" if primary is not None else ""
            holder = f" of {NAMES[promised.node]}" if promised.epoch else ""
            state = f"promised {promised.epoch}{holder}, log {entries or 'empty'}, commit {replica.commit}"
            floor = f", floor {log.floor_index}" if log.floor_index else ""
            self.say(name, f"has {state}, applied {replica.applied}{floor}{role}")


# --- as text -----------------------------------------------------------------------------------------------


def spell_entry(data: bytes) -> str:
    entry = decode(data)
    what = ("noop", "put", "delete", "outcome")[entry.kind]
    return f"{entry.epoch}/{entry.index}:{what}{' ' if entry.key else ''}{entry.key.decode()}"


def spell_result(result: Result) -> str:
    text = result.status.name
    if result.version:
        text += f" version {result.version}"
    if result.value:
        text += f" {result.value.decode()}"
    return text


def written(batch: Batch) -> str:
    """Say what a batch makes durable; rows that only keep the store in shape are left out."""
    parts = []
    if batch.ranges:
        parts.append("the cut of its log")
    parts += [f"log {spell_entry(entry)}" for entry in batch.log.values() if entry]
    promise, applied = batch.meta.get(promised_key(ONLY)), batch.meta.get(applied_key(ONLY))
    if promise:
        held = decode_promised(promise)
        parts.append(f"promised {held.epoch} of {NAMES[held.node]}")
    if applied:
        parts.append(f"applied {decode_applied(applied)[0]}")
    if batch.staged:
        parts.append("rows of a snapshot, aside")
    return ", ".join(parts) or ("the map" if MAP_KEY in batch.meta else "where its log begins")


def spell(message: m.Message) -> str:
    match message:
        case hot.Append():
            entries = ", ".join(map(spell_entry, message.entries)) or "nothing"
            before = f"{message.prev_epoch}/{message.prev_index}"
            return f"Append epoch {message.epoch}: after {before}: {entries}; commit {message.commit}"
        case m.Entries():
            entries = ", ".join(map(spell_entry, message.entries)) or "nothing"
            return (
                f"Entries epoch {message.epoch}: after {message.prev_epoch}/{message.prev_index}: {entries}"
            )
        case hot.Acks():
            return f"Ack epoch {message.items[1]}: durable up to {message.items[2]}"
        case hot.Commits():
            return f"Commits epoch {message.items[1]}: up to {message.items[2]}"
        case hot.Confirm() | hot.Confirmed():
            return f"{type(message).__name__} epoch {message.items[1]}"
        case hot.Forward():
            condition = {ANY: "", ABSENT: " if absent"}.get(message.condition, f" if {message.condition}")
            what = f"{Kind(message.kind).name} {message.key.decode()} {message.value.decode()}".strip()
            return f"Forward epoch {message.epoch}: {what}{condition}"
        case hot.Reply():
            status = "RETRY" if message.status == hot.RETRY else Status(message.status).name
            version = f" version {message.version}" if message.version else ""
            return f"Reply epoch {message.epoch}: {status}{version}"
        case m.Prepare():
            return f"Prepare epoch {message.epoch}"
        case m.Promise():
            last = f"{message.last_epoch}/{message.last_index}"
            return f"Promise epoch {message.epoch}: last {last}, commit {message.commit}"
        case m.SnapshotOffer():
            return (
                f"SnapshotOffer epoch {message.epoch}: state up to {message.last_epoch}/{message.last_index}"
            )
        case m.SnapshotPull():
            return f"SnapshotPull epoch {message.epoch}: {'done' if message.done else 'the next rows'}"
        case m.SnapshotChunk():
            return f"SnapshotChunk epoch {message.epoch}: {len(message.rows)} rows"
        case m.Surplus():
            return f"Surplus: may I delete mine, config {message.config}?"
        case m.Release():
            return f"Release epoch {message.epoch}: config {message.config} is without you"
        case m.Report():
            said = ", ".join(f"{m.Said(what).name} epoch {epoch} config {config}"
                             for _, epoch, config, what, _ in message.statements)  # fmt: skip
            return f"Report {said}"
        case m.Refuse():
            return f"Refuse epoch {message.epoch}: promised {message.promised}"
        case m.Fetch():
            return f"Fetch epoch {message.epoch}: after {message.after}"
        case _:
            return type(message).__name__
