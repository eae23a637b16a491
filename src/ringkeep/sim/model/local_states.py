"""The states of single nodes: each is kept once, and what an event does to it is computed once.

A node's next state depends on its own state and the event alone, so the same pair is never run twice: the
world has millions of states, made of some ten thousands of these.
"""

import pickle
from collections import Counter
from collections.abc import Callable, Sequence
from hashlib import blake2b
from traceback import extract_tb
from typing import Any, Final, NamedTuple

from ringkeep.core.protocol.cluster_map import Partition
from ringkeep.core.protocol.hot_messages import Acks, Reply
from ringkeep.core.protocol.messages import Promise
from ringkeep.core.protocol.rows import NOBODY, Promised
from ringkeep.core.protocol.types import Incarnation, NodeId
from ringkeep.core.replication.handover import StatementRow
from ringkeep.core.replication.primary import Phase
from ringkeep.sim.errors import Violated
from ringkeep.sim.model.bounds import ModelBounds
from ringkeep.sim.model.disk import ModelDisk
from ringkeep.sim.model.machine import IDS, NUMBERS, Image, ModelMachine, Output, number_of
from ringkeep.sim.model.mail import Frames
from ringkeep.sim.model.numbers import Numbers
from ringkeep.sim.model.projection import project
from ringkeep.sim.model.requests import expected_state

Event = tuple[Any, ...]
"""A kind, and what it needs: see `_EVENTS`."""

LogTuple = tuple[bytes, ...]


class LocalState(NamedTuple):
    """What the world needs to know of one state of one node.

    `keys`: this state's number under each permutation of the nodes. `tail`: a number for everything that the
    invariants check. `logs`: every log that it has or may find after a crash, the one in memory first;
    `safe`: the durable one. `kept`: the epoch whose promise is durable. `primary`: the epoch that it leads,
    or 0. `untold`: whether it could send a commit index. `held`: whether there is a replica; `surplus`: one
    that the map gives to others. `silent`: peers that it would ask again. `said`: what it would report to the
    controller.
    """

    node: int
    place: int
    life: Incarnation
    keys: tuple[int, ...]
    tail: int
    logs: tuple[LogTuple, ...]
    safe: LogTuple
    kept: int
    commit: int
    applied: int
    promised: Promised
    primary: int
    active: bool
    untold: bool
    unsynced: int
    held: bool
    surplus: bool
    silent: tuple[int, ...]
    said: tuple[StatementRow, ...]


class EventOutcome(NamedTuple):
    """The outcome of an event: the next state, (receiver, frame) of each message, the client's answers."""

    state: int
    sends: tuple[tuple[int, int], ...]
    replies: tuple[tuple[int, int, int, bytes], ...]


class LocalStates:
    """All states of nodes found so far, and all events that happened to them."""

    def __init__(self, bounds: ModelBounds, permutations: Sequence[Sequence[int]], frames: Frames) -> None:
        self._bounds = bounds
        self.places: Numbers[tuple[int, Partition]] = Numbers()
        self.states: dict[int, LocalState] = {}
        self.counters: Counter[str] = Counter()
        self._frames = frames
        self.names: list[dict[str, int]] = [
            {IDS[node]: permuted for node, permuted in enumerate(permutation)} for permutation in permutations
        ]
        self._keys: Numbers[bytes] = Numbers()
        self._tails: Numbers[Any] = Numbers()
        self._frozen: dict[int, bytes] = {}
        self._outcomes: dict[tuple[int, Event], EventOutcome] = {}

    @property
    def transitions(self) -> int:
        """How many different events have happened to different states."""
        return len(self._outcomes)

    def begin(self, me: int, place: int) -> int:
        """Return the state of a node that was never started before."""
        machine = self._machine(me, Incarnation(1), ModelDisk())
        lives = (Incarnation(1),) * self._bounds.nodes
        machine.start(*self.places.things[place], lives)
        machine.sync(machine.disk.unsynced)
        return self._intern(machine)

    def after(self, state: int, event: Event) -> EventOutcome:
        """Return what this event does to a node in this state."""
        found = self._outcomes.get((state, event))
        if found is None:
            found = self._outcomes[state, event] = self._happen(state, event)
        return found

    def _happen(self, state: int, event: Event) -> EventOutcome:
        machine: ModelMachine = pickle.loads(self._frozen[state])
        kind, *arguments = event
        try:
            if kind == "restart":
                machine, output = self._restart(machine, *arguments)
            else:
                output = _EVENTS[kind](self, machine, *arguments)
            self.counters.update(machine.node.context.counters)
            reached = self._intern(machine)
            _check_promises(self.states[state], self.states[reached], output, kind == "restart")
        except AssertionError as error:
            said = str(error) or _line_of(error)
            raise Violated(f"n{NUMBERS[machine.node.context.me] + 1}: {said}") from error
        sends = tuple([(peer, self._frames.of(messages)) for peer, messages in output.sends])
        return EventOutcome(reached, sends, tuple([_plain(reply) for reply in output.replies]))

    # --- events -----------------------------------------------------------------------------------------

    def _restart(
        self, machine: ModelMachine, keep: int, place: int, lives: Sequence[Incarnation]
    ) -> tuple[ModelMachine, Output]:
        me = NUMBERS[machine.node.context.me]
        machine.disk.crash(keep)
        machine = self._machine(me, lives[me], machine.disk)
        return machine, machine.start(*self.places.things[place], lives)

    def _machine(self, me: int, life: Incarnation, disk: ModelDisk) -> ModelMachine:
        return ModelMachine(me, life, self._bounds.nodes, disk, self._bounds.split)

    def learn(self, machine: ModelMachine, place: int) -> Output:
        return machine.learn(*self.places.things[place])

    def take(self, machine: ModelMachine, sender: NodeId, life: Incarnation, frame: int) -> Output:
        return machine.take(sender, life, self._frames.messages[frame])

    # --- states -----------------------------------------------------------------------------------------

    def _intern(self, machine: ModelMachine) -> int:
        """Return the number of this state; keep the machine if it is a new one."""
        machine.node.context.counters = {}
        images = machine.images()
        keys = tuple([self._keys.of(_digest(project(machine, images, names))) for names in self.names])
        number = keys[0]
        if number not in self.states:
            frozen = pickle.dumps(machine, pickle.HIGHEST_PROTOCOL)
            self.states[number] = self._describe(machine, images, keys, frozen)
            self._frozen[number] = frozen
        return number

    def _describe(
        self, machine: ModelMachine, images: list[Image], keys: tuple[int, ...], frozen: bytes
    ) -> LocalState:
        context, replica, primary = machine.node.context, machine.replica, machine.primary
        assert context.cluster_map is not None
        part = context.cluster_map.partitions[0]
        log = tuple(replica.log._entries) if replica is not None else ()
        commit, applied = (replica.commit, replica.applied) if replica is not None else (0, 0)
        promised = replica.promised if replica is not None else images[-1].promised
        epoch = primary.epoch if primary is not None and primary.leads else 0
        active = primary is not None and primary.phase == Phase.ACTIVE
        if replica is not None:
            assert applied <= commit <= len(log), "applied, commit and log are in order"
            assert not epoch or promised == (epoch, context.me, context.incarnation), "leads as it promised"
            expected_state(log[:applied]).compare(replica)
        logs = tuple(dict.fromkeys((log, *[image.log for image in images])))
        said: tuple[StatementRow, ...] = ()
        if active and (part.learner is not None or part.old_voters):
            copy: ModelMachine = pickle.loads(frozen)
            said = copy.said()
        return LocalState(
            node=NUMBERS[context.me],
            place=self.places.of((number_of(context.cluster_map), part)),
            life=context.incarnation,
            keys=keys,
            tail=self._tails.of((context.me, logs, images[0].log, commit, promised, epoch, active)),
            logs=logs,
            safe=images[0].log,
            kept=images[0].promised.epoch,
            commit=commit,
            applied=applied,
            promised=promised if promised.epoch else NOBODY,
            primary=epoch,
            active=active,
            untold=active and primary is not None and primary.told < commit,
            unsynced=len(images) - 1,
            held=replica is not None,
            surplus=replica is not None and context.me not in part.replicas,
            silent=machine.silent(),
            said=said,
        )


_EVENTS: Final[dict[str, Callable[..., Output]]] = {
    "take": LocalStates.take,
    "learn": LocalStates.learn,
    "sync": lambda _, machine, batches: machine.sync(batches),
    "relink": lambda _, machine, peer, life: machine.relink(peer, life),
    "nudge": lambda _, machine, peer: machine.nudge(peer),
    "tell": lambda _, machine: machine.tell(),
    "apply": lambda _, machine: machine.apply(),
    "give up": lambda _, machine: machine.give_up(),
}


def _check_promises(before: LocalState, after: LocalState, output: Output, restarted: bool) -> None:
    """2. A promise never decreases, and is durable before any message that depends on it."""
    assert after.kept >= before.kept, f"the durable promise of {before.kept} is forgotten"
    assert restarted or after.promised.epoch >= before.promised.epoch, "a promise never decreases"
    for _, messages in output.sends:
        for message in messages:
            said = message.items[1::3] if isinstance(message, Acks) else []
            said = [message.epoch] if isinstance(message, Promise) else said
            assert all(epoch <= after.kept for epoch in said), "what it says rests on a promise not durable"


def _digest(projection: tuple[Any, ...]) -> bytes:
    return blake2b(repr(projection).encode(), digest_size=16).digest()


def _plain(reply: Reply) -> tuple[int, int, int, bytes]:
    return reply.tag, reply.status, reply.version, reply.value


def _line_of(error: AssertionError) -> str:
    """Return the place of an assertion without a text."""
    frame = extract_tb(error.__traceback__)[-1]
    return f"{frame.filename}:{frame.lineno}: {frame.line}"
