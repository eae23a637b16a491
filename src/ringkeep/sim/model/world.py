"""The states of the whole world, and what each move makes of them.

A move concerns one node or one connection. Consequences whose time makes no difference are part of it.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import Any, Final

from ringkeep.core.protocol.client_requests import Status
from ringkeep.core.protocol.cluster_map import Partition
from ringkeep.core.protocol.types import Epoch, Incarnation, MapVersion
from ringkeep.sim.errors import Violated
from ringkeep.sim.model import requests
from ringkeep.sim.model.bounds import ModelBounds
from ringkeep.sim.model.invariants import ModelInvariants
from ringkeep.sim.model.layout import Cells, State
from ringkeep.sim.model.local_states import Event, EventOutcome, LocalState
from ringkeep.sim.model.machine import CLIENT, CLIENT_LIFE, IDS, NAMES, NUMBERS
from ringkeep.sim.model.moves import Move, moves_of
from ringkeep.sim.model.numbers import Numbers
from ringkeep.sim.model.projection import walk
from ringkeep.sim.model.tables import Past, Spent, Tables

Touched = Sequence[int]
"""The nodes that a move has reached."""


class ModelWorld(Tables):
    """Everything that can happen within some bounds.

    `reduced`: whether states that differ in nothing that matters count as one. A test compares with all.
    """

    def __init__(self, bounds: ModelBounds, reduced: bool = True) -> None:
        self._reduced = reduced
        same = tuple(range(bounds.nodes))
        alike = reduced and bounds.voters > 2
        permutations = [same, (0, 2, 1, 3)[: bounds.nodes]] if alike else [same]
        super().__init__(bounds, permutations)
        self.watcher: Callable[[int, Event, EventOutcome], None] | None = None
        self._chain_keys: dict[int, tuple[int, ...]] = {}
        self._renamed_chains: Numbers[Any] = Numbers()
        self._invariants = ModelInvariants()

    # --- states -----------------------------------------------------------------------------------------

    def begin(self) -> State:
        """Return the first state: n1 leads epoch 1, and is ACTIVE unless its takeover is explored."""
        voters = tuple(IDS[: self.bounds.voters])
        nowhere = Partition(Epoch(0), IDS[0], Incarnation(0), voters, MapVersion(0))
        first = replace(nowhere, epoch=Epoch(1), incarnation=Incarnation(1))
        before, place = self.locals.places.of((0, nowhere)), self.locals.places.of((1, first))
        nodes = [self.locals.begin(node, before) for node in range(self.layout.nodes)]
        chain, past, spent = self.chains.of((before, place)), self.pasts.of(Past()), self.spents.of(Spent())
        state = (*nodes, *[0] * len(self.layout.pairs), chain, past, spent)
        cells = list(state)
        self._event(cells, 0, ("learn", place))
        state = self._finish(state, cells, range(self.layout.nodes))
        if self.bounds.fresh:
            return state
        while moves := [move for move in self.moves(state) if move[0] in ("take", "sync")]:
            state = self.step(state, moves[-1])
        return state

    def key(self, state: State) -> bytes:
        """Return a digest that two states share if they are one, or one with its backups renamed."""
        layout, states = self.layout, self.locals.states
        chain, past, spent = state[layout.chain :]
        chain_keys = self._chain_key(chain)
        least = layout.pack(*state[: layout.chain], chain_keys[0], past, spent)
        for at, (nodes, queues) in enumerate(layout.renamings, 1):
            renamed = [states[node].keys[at] for node in nodes(state)]
            least = min(least, layout.pack(*renamed, *queues(state), chain_keys[at], past, spent))
        return blake2b(least, digest_size=16).digest()

    def _chain_key(self, chain: int) -> tuple[int, ...]:
        found = self._chain_keys.get(chain)
        if found is None:
            places = [self.locals.places.things[place] for place in self.chains.things[chain]]
            found = tuple(self._renamed_chains.of(walk(places, names)) for names in self.locals.names)
            self._chain_keys[chain] = found
        return found

    # --- what must hold ---------------------------------------------------------------------------------

    def check(self, state: State) -> None:
        """Raise Violated if an invariant does not hold."""
        place = self.chains.things[state[self.layout.chain]][-1]
        past = state[self.layout.past]
        committed, part = self.pasts.things[past].committed, self.locals.places.things[place][1]
        self._invariants.check(self.nodes_of(state), past, committed, place, part)

    def check_rest(self, state: State) -> None:
        """Raise Violated if the world has come to rest too early. Call when nothing happens by itself.

        Then the newest primary is ACTIVE, unless its process has ended, and every replica has its log.
        """
        _, part = self.newest(state)
        nodes = self.nodes_of(state)
        primary = nodes[NUMBERS[part.primary]]
        if primary.life != part.incarnation:
            return
        if not primary.active or primary.primary != part.epoch:
            raise Violated(f"all is quiet, and the primary of epoch {part.epoch} is not ACTIVE")
        for node in part.replicas:
            if nodes[NUMBERS[node]].logs[0] != primary.logs[0]:
                raise Violated(f"all is quiet, and {NAMES[node]} does not have the primary's log")

    def _told(self, past: Past, tag: int, status: int, version: int, value: bytes) -> Past:
        """10. A write is answered with what was committed; a read sees everything answered before it
        began."""
        number = requests.number_of(tag)
        if requests.is_read(tag):
            since = dict(past.reads)[number]
            past = past._replace(reads=tuple(read for read in past.reads if read[0] != number))
            if status not in (Status.FOUND, Status.NOT_FOUND):
                return past
            if version < since:
                raise Violated(f"read {number} found version {version}; {since} was told before it began")
            state = requests.expected_state(past.committed[:version])
            if (state.version, state.value) != (version, value):
                raise Violated(f"read {number} found version {version}, which is not committed")
        elif status in (Status.CREATED, Status.REPLACED):
            kept = requests.expected_state(past.committed).results.get(number)
            if kept != (status, version):
                raise Violated(f"write {number} is acknowledged as {status}, {version}; committed is {kept}")
        else:
            return past
        return past._replace(seen=max(past.seen, version)) if self.bounds.reads else past

    # --- moves ------------------------------------------------------------------------------------------

    def moves(self, state: State) -> list[Move]:
        """Return everything that can happen next."""
        return moves_of(self, state)

    def step(self, state: State, move: Move) -> State:
        """Return the state that a move leads to. Raises Violated if the core breaks an assertion."""
        cells = list(state)
        kind, *arguments = move
        touched = _MOVES[kind](self, cells, *arguments)
        return self._finish(state, cells, touched)

    def _take(self, cells: Cells, sender: int, node: int) -> Touched:
        at = self.layout.queue[sender, node]
        frames = self.queues.content[cells[at]]
        cells[at] = self.queues.of(frames[1:])
        return self._event(cells, node, ("take", IDS[sender], self._life(cells, sender), frames[0]))

    def _learn(self, cells: Cells, node: int, number: int) -> Touched:
        return self._event(cells, node, ("learn", self.place_numbered(cells, number)))

    def _put(self, cells: Cells, node: int, number: int) -> Touched:
        self._spend(cells, "puts")
        return self._ask(cells, node, requests.write_of(number, self._epoch(cells, node)))

    def _again(self, cells: Cells, node: int, number: int) -> Touched:
        self._spend(cells, "again")
        return self._ask(cells, node, requests.write_of(number, self._epoch(cells, node)))

    def _read(self, cells: Cells, node: int, number: int) -> Touched:
        self._spend(cells, "reads")
        past = self.pasts.things[cells[self.layout.past]]
        begun = past._replace(reads=(*past.reads, (number, past.seen)))
        cells[self.layout.past] = self.pasts.of(begun)
        return self._ask(cells, node, requests.read_of(number, self._epoch(cells, node)))

    def _ask(self, cells: Cells, node: int, request: Any) -> Touched:
        return self._event(cells, node, ("take", CLIENT, CLIENT_LIFE, self.frames.of([request])))

    def _crash(self, cells: Cells, node: int, keep: int) -> Touched:
        """A process ends and is started again; the register names its new life before it is heard."""
        self._spend(cells, "crashes")
        lives = [self._life(cells, each) for each in range(self.layout.nodes)]
        lives[node] = Incarnation(lives[node] + 1)
        place = self.chains.things[cells[self.layout.chain]][-1]
        for _, sent, received in self.layout.links[node]:
            cells[sent] = cells[received] = 0
        self._event(cells, node, ("restart", keep, place, tuple(lives)))
        for peer, _, _ in self.layout.links[node]:
            self._event(cells, peer, ("relink", node, lives[node]))
        return range(self.layout.nodes)

    def _cut(self, cells: Cells, node: int, peer: int) -> Touched:
        """A connection breaks, loses what is on its way, and is made again."""
        self._spend(cells, "cuts")
        cells[self.layout.queue[node, peer]] = 0
        return self._event(cells, node, ("relink", peer, self._life(cells, peer)))

    def _map(self, cells: Cells, what: str) -> Touched:
        """The controller writes a map."""
        number, part = self.newest(cells)
        place = dict(self.next_places(cells))[what]
        if place.epoch == part.epoch:
            self._spend(cells, "steps")
        chain = self.chains.things[cells[self.layout.chain]]
        cells[self.layout.chain] = self.chains.of((*chain, self.locals.places.of((number + 1, place))))
        return range(self.layout.nodes)

    def _spend(self, cells: Cells, what: str) -> None:
        spent = self.spents.things[cells[self.layout.spent]]
        cells[self.layout.spent] = self.spents.of(spent._replace(**{what: getattr(spent, what) + 1}))

    def _life(self, cells: Cells, node: int) -> Incarnation:
        return self.locals.states[cells[node]].life

    def _epoch(self, cells: Cells, node: int) -> Epoch:
        return Epoch(self.locals.states[cells[node]].primary)

    # --- what follows from a move -----------------------------------------------------------------------

    def _event(self, cells: Cells, node: int, event: Event) -> Touched:
        """Apply an event to a node; queue its messages, and check its answers."""
        outcome = self.locals.after(cells[node], event)
        cells[node] = outcome.state
        if self.watcher is not None:
            self.watcher(node, event, outcome)
        for peer, frame in outcome.sends:
            at = self.layout.queue[node, peer]
            cells[at] = self.queues.of((*self.queues.content[cells[at]], frame))
        local = self.locals.states[outcome.state]
        past = self.pasts.things[cells[self.layout.past]]
        known = len(past.committed)
        if local.commit > known:
            past = past._replace(committed=past.committed + local.logs[0][known : local.commit])
            cells[self.layout.past] = self.pasts.of(past)
        for reply in outcome.replies:
            past = self._told(past, *reply)
            cells[self.layout.past] = self.pasts.of(past)
        return (node,)

    def _finish(self, state: State, cells: Cells, touched: Touched) -> State:
        if self._reduced:
            self._tell_idle(cells, touched)
            self._drop_dead(state, cells, touched)
        self._forget_maps(cells)
        return tuple(cells)

    def _tell_idle(self, cells: Cells, touched: Touched) -> None:
        """Let nodes learn maps that make no difference to them at once."""
        chain = self.chains.things[cells[self.layout.chain]]
        if len(chain) == 1:
            return
        for node in touched:
            local = self.locals.states[cells[node]]
            for place in chain[chain.index(local.place) + 1 :]:
                if not self._is_idle(local, place):
                    break
                self._event(cells, node, ("learn", place))
                local = self.locals.states[cells[node]]

    def _forget_maps(self, cells: Cells) -> None:
        """Forget maps older than the oldest that some node holds."""
        chain = self.chains.things[cells[self.layout.chain]]
        if len(chain) == 1:
            return
        known = min(chain.index(local.place) for local in self.nodes_of(cells))
        if known:
            cells[self.layout.chain] = self.chains.of(chain[known:])

    def _is_idle(self, local: LocalState, place: int) -> bool:
        """Return whether a map makes no difference to a node.

        It neither ends nor begins a primaryship there, the node is a replica before and after or neither, and
        has no promise to make as a learner.
        """
        part, before = self.locals.places.things[place][1], self.locals.places.things[local.place][1]
        me = IDS[local.node]
        mine = (part.primary, part.incarnation) == (me, local.life)
        if local.primary or part.learner == me or (mine and local.promised.epoch < part.epoch):
            return False
        was, becomes = me in before.replicas, me in part.replicas
        return was and becomes if local.held else not was and not becomes

    def _drop_dead(self, state: State, cells: Cells, touched: Touched) -> None:
        """Remove frames without effect from the queues, where frames were added or an end has changed."""
        states, living = self.locals.states, self.queues.living
        for node in touched:
            here, before = states[cells[node]], states[state[node]]
            changed = here.primary != before.primary or here.promised != before.promised
            for peer, sent, received in self.layout.links[node]:
                there = states[cells[peer]]
                if cells[sent] and (changed or cells[sent] != state[sent]):
                    cells[sent] = living(cells[sent], there.promised.epoch, there.primary, here.primary)
                if changed and cells[received]:
                    cells[received] = living(
                        cells[received], here.promised.epoch, here.primary, there.primary
                    )


_MOVES: Final[dict[str, Callable[..., Touched]]] = {
    "take": ModelWorld._take,
    "sync": lambda world, cells, node, batches: world._event(cells, node, ("sync", batches)),
    "learn": ModelWorld._learn,
    "nudge": lambda world, cells, node, peer: world._event(cells, node, ("nudge", peer)),
    "tell": lambda world, cells, node: world._event(cells, node, ("tell",)),
    "apply": lambda world, cells, node: world._event(cells, node, ("apply",)),
    "give up": lambda world, cells, node: world._event(cells, node, ("give up",)),
    "put": ModelWorld._put,
    "again": ModelWorld._again,
    "read": ModelWorld._read,
    "crash": ModelWorld._crash,
    "cut": ModelWorld._cut,
    "map": ModelWorld._map,
}
