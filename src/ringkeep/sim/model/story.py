"""A path through the model as text: every move, and the messages that it causes."""

from collections.abc import Sequence
from typing import Any

from ringkeep.core.protocol import hot_messages as hot
from ringkeep.core.protocol import messages as m
from ringkeep.core.protocol.client_requests import Kind, Status
from ringkeep.core.protocol.entry import EntryKind, decode
from ringkeep.sim.errors import Violated
from ringkeep.sim.model import requests
from ringkeep.sim.model.bounds import ModelBounds
from ringkeep.sim.model.layout import State
from ringkeep.sim.model.local_states import Event, EventOutcome, LocalState, LogTuple
from ringkeep.sim.model.machine import NAMES
from ringkeep.sim.model.moves import Move
from ringkeep.sim.model.world import ModelWorld


def story_of(bounds: ModelBounds, moves: Sequence[Move]) -> list[str]:
    """Repeat the path; return its lines, and the states of the nodes before the last move."""
    if not moves:
        return []
    world = ModelWorld(bounds)
    state = world.begin()
    lines: list[str] = []

    def note(node: int, event: Event, outcome: EventOutcome) -> None:
        for peer, frame in outcome.sends:
            lines.extend(
                f"      n{node + 1} -> n{peer + 1}  {spell(each)}" for each in world.frames.messages[frame]
            )
        lines.extend(f"      n{node + 1} answers {spell_reply(*reply)}" for reply in outcome.replies)

    world.watcher = note
    for number, move in enumerate(moves, 1):
        if number == len(moves):
            lines += ["", *_standings(world, state), ""]
        lines.append(f"{number:>4}  {spell_move(world, state, move)}")
        try:
            state = world.step(state, move)
        except Violated:
            break
    return lines


def _standings(world: ModelWorld, state: State) -> list[str]:
    return [f"      n{local.node + 1} {spell_local(local)}" for local in world.nodes_of(state)]


def spell_local(local: LocalState) -> str:
    """Describe a node: promise, log, its durable part, commit, role."""
    text = f"promised {local.promised.epoch}"
    if local.promised.epoch:
        text += f" of {NAMES[local.promised.node]}"
    text += f", log {spell_log(local.logs[0])}"
    if local.safe != local.logs[0]:
        text += f" (durable: {spell_log(local.safe)})"
    text += f", commit {local.commit}"
    if local.primary:
        text += f", primary of {local.primary}{', ACTIVE' if local.active else ''}"
    return text


def spell_log(log: LogTuple) -> str:
    return " ".join(map(spell_entry, log)) or "empty"


def spell_entry(data: bytes) -> str:
    entry = decode(data)
    return f"{entry.epoch}/{entry.index}:{'noop' if entry.kind == EntryKind.NOOP else f'put{entry.counter}'}"


def spell_move(world: ModelWorld, state: State, move: Move) -> str:
    """Describe a move."""
    kind, *rest = move
    names = [f"n{each + 1}" if isinstance(each, int) else each for each in rest]
    if kind == "take":
        frame = world.queues.content[state[world.layout.queue[rest[0], rest[1]]]][0]
        said = ", ".join(type(each).__name__ for each in world.frames.messages[frame])
        return f"{names[1]} takes from {names[0]}: {said}"
    if kind == "map":
        return f"the register: {rest[0]}"
    if kind == "learn":
        number, part = world.locals.places.things[world.place_numbered(state, rest[1])]
        leads = f"epoch {part.epoch} of {NAMES[part.primary]}"
        return f"{names[0]} learns of map {number}: {leads}{spell_voters(part)}"
    texts = {
        "sync": lambda: f"{names[0]} has synced {rest[1]} of its batches",
        "crash": lambda: f"{names[0]} ends and is started again; {rest[1]} of its unsynced batches are kept",
        "cut": lambda: f"the connection {names[0]} -> {names[1]} breaks and is made anew",
        "put": lambda: f"{names[0]} is asked for write {rest[1]}",
        "again": lambda: f"{names[0]} is asked for write {rest[1]} once more",
        "read": lambda: f"{names[0]} is asked for read {rest[1]}",
        "tell": lambda: f"{names[0]} tells how far it has committed",
        "apply": lambda: f"{names[0]} applies",
        "nudge": lambda: f"{names[0]} asks {names[1]} again",
        "give up": lambda: f"{names[0]} asks for leave to delete its replica",
    }
    return texts[kind]()


def spell_voters(part: Any) -> str:
    """Describe the voters, if they are not the initial ones."""
    if part.learner is None and not part.old_voters and part.config == 0:
        return ""
    voters = "".join(f" {NAMES[node]}" for node in part.voters)
    old = "".join(f" {NAMES[node]}" for node in part.old_voters)
    learner = f", learner {NAMES[part.learner]}" if part.learner is not None else ""
    return f", voters{voters}{', old voters' + old if old else ''}{learner}"


def spell_reply(tag: int, status: int, version: int, value: bytes) -> str:
    """Describe a client's answer."""
    what = "read" if requests.is_read(tag) else "write"
    name = "RETRY" if status == hot.RETRY else Status(status).name
    text = f"{what} {requests.number_of(tag)}: {name}"
    if version:
        text += f" version {version}"
    return f"{text} {value.decode()}".rstrip()


def spell(message: m.Message) -> str:
    """Describe a message."""
    match message:
        case hot.Append() | m.Entries():
            before = f"{message.prev_epoch}/{message.prev_index}"
            commit = f"; commit {message.commit}" if isinstance(message, hot.Append) else ""
            entries = spell_log(tuple(message.entries)) if message.entries else "nothing"
            return f"{type(message).__name__} epoch {message.epoch}: after {before}: {entries}{commit}"
        case hot.Acks():
            rows = zip(message.items[1::3], message.items[2::3], strict=True)
            return f"Acks: {', '.join(f'durable up to {last} in epoch {epoch}' for epoch, last in rows)}"
        case hot.Commits():
            return f"Commits epoch {message.items[1]}: up to {message.items[2]}"
        case hot.Confirm() | hot.Confirmed():
            return f"{type(message).__name__} epoch {message.items[1]}"
        case hot.Forward():
            return f"Forward epoch {message.epoch}: {Kind(message.kind).name}"
        case m.Promise():
            last = f"{message.last_epoch}/{message.last_index}"
            return f"Promise epoch {message.epoch}: last {last}, commit {message.commit}"
        case m.Refuse():
            return f"Refuse epoch {message.epoch}: promised {message.promised}"
        case m.Fetch():
            return f"Fetch epoch {message.epoch}: after {message.after}"
        case m.Prepare():
            return f"Prepare epoch {message.epoch}"
        case _:
            return type(message).__name__
