"""The abstraction of the model: which parts of a node's state distinguish states, and which do not.

Two nodes with one projection behave alike in all that can happen within the model, so they count as one
state. Every field of the classes below is either in the projection, or left out with a reason; a test
compares the table with the real objects. Nodes are named by numbers here, and under a permutation of them:
states that differ only in which backup is which are one state too.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from functools import partial
from types import MethodType
from typing import Any, Final

from ringkeep.core.context import Context, Durable
from ringkeep.core.node import Node
from ringkeep.core.protocol import hot_messages, messages
from ringkeep.core.protocol.cluster_map import ClusterMap, Partition
from ringkeep.core.replication.parked import Parked
from ringkeep.core.replication.peer_progress import PeerProgress
from ringkeep.core.replication.pending import Call, Pending
from ringkeep.core.replication.primary import Phase, Primary
from ringkeep.core.replication.replica import Replica
from ringkeep.core.replication.replica_set import ReplicaSet
from ringkeep.core.replication.takeover import Takeover
from ringkeep.core.requests.confirmed_reads import ConfirmedReads, _Ballot, _Round
from ringkeep.core.state.log import Log
from ringkeep.sim.model.machine import Image, ModelMachine, number_of

Names = Mapping[str, int]
"""Node id -> the number that it has under the permutation in question."""


@dataclass(frozen=True, slots=True)
class Fields:
    """What is done with the fields of a class.

    `whole`: part of the projection. `part`: what is derived from them is. `out`: left out, and why.
    `unordered`: of the whole ones, sequences whose order means nothing.
    """

    whole: tuple[str, ...]
    out: Mapping[str, str]
    part: Mapping[str, Callable[[Any], Any]] = field(default_factory=dict)
    unordered: tuple[str, ...] = ()


_TIME: Final = "time stands still"
_LINK: Final = "points to another object of the same node"
_CONSTANT: Final = "never changes within these bounds"
_DERIVED: Final = "follows from other fields"
_EMPTY: Final = "empty whenever it is looked at; asserted"
_STEERING: Final = "steering and suspicion: maps come from the model's own moves"
_LOGGED: Final = "follows from the log"
_TURN: Final = "only compared with the turn of what waits for a sync"
_SMALL: Final = "far below any bound"
_SOUND: Final = "for stores that lost something synced, which are not modelled"
_TOLD: Final = "told to people only"
_STALE: Final = "for stale reads only, which are not modelled"
_FED: Final = "for readers of changes, of whom there are none"


def _looked_at(takeover: Takeover) -> list[Any]:
    """Promises in their order of arrival; they are not used once the epoch has begun."""
    primary = takeover._primary
    assert isinstance(primary, Primary)
    begun = primary.phase not in (Phase.PREPARING, Phase.FETCHING)
    return [] if begun else list(takeover.promises.items())


FIELDS: Final[dict[type, Fields]] = {
    Node: Fields(
        ("context", "replica_set", "reads"),
        {
            "replicas": _LINK, "primaries": _LINK, "budget": _SMALL, "pace": _CONSTANT, "receivers": _EMPTY,
            "_codec": _CONSTANT, "map_payload": _DERIVED, "_dispatch": _LINK,
            "_probe_at": _TIME, "_look_after_at": _TIME, "detector": _STEERING, "handover": _STEERING,
            "controller": _STEERING, "coordinator": _EMPTY, "senders": _EMPTY, "stale": _EMPTY,
            "_sizes": _TOLD, "_listener": _TOLD, "reports": _TOLD, "relay": _STEERING, "copies": _STEERING,
            "listings": _EMPTY, "scans": _EMPTY, "groups": _EMPTY,
            "_node_reads": _LINK, "watched": _TIME, "disk_held": _CONSTANT, "_unheard": _CONSTANT,
            "followers": _FED, "feeds": _FED,
        },
    ),
    Context: Fields(
        ("me", "incarnation", "recognised", "cluster_map"),
        {
            "reader": "the disk; see `machine.Image`", "now": _TIME,
            "links": "a broken link is made anew in the same move: everybody is always linked",
            "effects": _EMPTY, "durable": _EMPTY, "stirred": _EMPTY,
            "unapplied": "those whose commit is above what is applied",
            "watched": "what a tick looks at, and the model's moves look by themselves",
            "log_sizes": _SMALL, "log_bytes": _SMALL,
            "history_sizes": _FED, "history_bytes": _FED, "news": _FED,
            "bulk_given": _SMALL, "jammed": _SMALL, "turn_bytes": _SMALL, "turn": _TURN, "answer": _LINK,
            "counters": _TOLD, "bounds": _CONSTANT, "coordinators": _CONSTANT,
            "damaged": _CONSTANT, "draining": _CONSTANT, "feature_level": _CONSTANT,
            "disks": _CONSTANT,
        },
    ),
    ReplicaSet: Fields(("replicas", "_deleted"), {
        "_context": _LINK, "_asked_at": _TIME, "missed": _EMPTY, "_relay": _LINK, "_node": _LINK,
        "primaries": _LINK, "_deleted_in": _TURN, "_late": _STALE, "_surplus": _DERIVED,
        "_renewed": "of damaged stores only, which are not modelled",
    }),
    Replica: Fields(
        ("promised", "log", "commit", "applied", "written", "matched", "primary"),
        {
            "context": _LINK, "partition": _CONSTANT, "generation": _CONSTANT, "next_generation": _CONSTANT,
            "state": "a function of the applied part of the log; asserted", "caught_up": _STALE,
            "fresh_at": _STALE, "followed": _FED, "history": _FED,
            "staging": "no snapshot is sent; asserted", "pins": "likewise",
            "deleted": "then nobody holds it any more", "swapped_in": "likewise",
            "_clock": _TIME, "write_down_in": "no snapshot is sent; asserted", "written_in": "likewise",
        },
    ),
    Log: Fields(
        ("_entries",),
        {
            "floor_epoch": _CONSTANT, "floor_index": "no log is trimmed; asserted", "floor_time": _CONSTANT,
            "entry_bytes": _DERIVED, "last_epoch": _DERIVED, "last_index": _DERIVED,
        },
    ),
    Primary: Fields(
        (
            "epoch", "phase", "takeover", "progress", "started", "barrier", "pending", "parked",
            "paused", "place",
        ),
        {
            "context": _LINK, "node": _LINK, "replica": _LINK, "since": _TIME, "clock": _TIME,
            "confirmed_at": _STALE, "confirmed_probes": _STALE, "in_sync": _TOLD,
            "peers": _DERIVED, "departed": "nobody departs", "expiry": "nothing expires",
        },
        part={"told": lambda primary: primary.told < primary.replica.commit},
    ),
    Takeover: Fields(("holder",), {"_primary": _LINK}, part={"promises": _looked_at}),
    PeerProgress: Fields(
        ("match", "next"), {
            "_context": _LINK, "_budget": _SMALL, "heard": _TIME, "_in_flight": _SMALL, "given": _TOLD,
            "_given_to": _TOLD, "_bulk_to": _SMALL, "lives": _SOUND, "lost": _SOUND,
        },
    ),
    Pending: Fields(
        ("calls",),
        {
            "newest": _LOGGED, "ids": _LOGGED, "entries": _LOGGED, "by_key": _LOGGED, "size": _SMALL,
            "_lowest": _LOGGED,
        },
    ),
    Parked: Fields(("_calls",), {"_context": _LINK, "_budget": _SMALL}),
    Call: Fields(("caller", "message"), {"deadline": _TIME, "result": "no batches"}),
    ConfirmedReads: Fields(
        ("_arrived", "_rounds", "_number", "_unapplied"),
        {
            "_context": _LINK, "probes": _STALE, "_later": _SMALL, "_held": _SMALL, "_turn_bytes": _SMALL,
            "_to_probe": _STALE,
        },
    ),
    _Round: Fields(("ballots",), {"since": _TIME, "probes": _STALE}),
    _Ballot: Fields(("primary", "reads", "index", "yes"), {}, unordered=("yes",)),
    ClusterMap: Fields(
        ("partitions",),
        {
            "cluster": _CONSTANT, "cluster_id": _CONSTANT, "replication": _CONSTANT,
            "nodes": "of the lives in it only the own one is looked at: `Context.recognised`",
            "settings": _CONSTANT, "format": _CONSTANT,
        },
        part={"version": number_of},
    ),
    Partition: Fields(
        ("epoch", "primary", "incarnation", "voters", "config", "old_voters", "learner", "replaces"),
        {"base": "moved by a recovery after a loss for good, which is not modelled"},
        unordered=("voters", "old_voters"),
    ),
}  # fmt: skip


def project(machine: ModelMachine, images: list[Image], names: Names) -> tuple[Any, ...]:
    """Return all that two equal states of one node have in common, as nested tuples of plain values."""
    _assert_empty(machine.node)
    held = machine.node.replica_set
    waiting = [(ticket, *_durable(held, durable, names)) for ticket, durable in machine.waiting]
    return fields_of(machine.node, names), walk(images, names), tuple(waiting)


def _assert_empty(node: Node) -> None:
    """Assert that what the table declares empty or unused is so."""
    context = node.context
    assert not context.effects.batch and not context.effects.sends and not context.durable
    assert not context.stirred and not (context.damaged or context.draining or context.disks.own.state)
    assert not node.coordinator.unfinished and not node.senders._open and not node.senders._wanted
    assert not node.stale._waiting
    for replica in node.replicas.values():
        assert replica.generation == 1 and replica.staging is None and not replica.pins
        assert replica.log.floor_index == 0 and not replica.deleted
        assert replica in context.unapplied or replica.applied == replica.commit


def _durable(held: ReplicaSet, durable: Durable, names: Names) -> tuple[Any, ...]:
    """What waits for a sync and still has an effect. Left out: acknowledgements of a deposed primary to
    itself, and messages of a replica that was deleted since.
    """
    acks = {peer: held.still_held(items, durable.turn) for peer, items in durable.acks.items()}
    own = {each: index for each, index in durable.own.items() if isinstance(each, Primary) and each.leads}
    calls = [call for call in durable.calls if not _is_idle(call)]
    return (
        walk({peer: items for peer, items in acks.items() if items}, names),
        walk(own, names),
        walk(calls, names),
    )


def _is_idle(call: Any) -> bool:
    owner = getattr(call.func if isinstance(call, partial) else call, "__self__", None)
    return (isinstance(owner, Primary) and not owner.leads) or (isinstance(owner, Replica) and owner.deleted)


# --- values as plain tuples ----------------------------------------------------------------------------

Walker = Callable[[Any, Names], Any]
walkers: dict[type, Walker] = {}


def walk(value: Any, names: Names) -> Any:
    """Return a value as nested tuples of numbers, bytes and names: equal for equal meaning."""
    kind = type(value)
    found = walkers.get(kind)
    if found is None:
        found = walkers[kind] = _choose(kind)
    return found(value, names)


def _choose(kind: type) -> Walker:
    if issubclass(kind, int):
        return lambda value, names: int(value)
    if kind in (bytes, type(None)):
        return lambda value, names: value
    if issubclass(kind, str):
        return lambda value, names: names.get(value, value)
    if issubclass(kind, tuple | list):
        return lambda value, names: tuple([walk(item, names) for item in value])
    if issubclass(kind, dict):
        return _dict
    if kind is partial:
        return lambda value, names: (*walk(value.func, names), walk(value.args, names))
    if kind is MethodType:
        return lambda value, names: (value.__name__, _refer(value.__self__))
    if kind is Primary:
        return lambda value, names: _refer(value)
    if kind in FIELDS:
        return fields_of
    if is_dataclass(kind) and kind.__module__ in (messages.__name__, hot_messages.__name__):
        chosen = [each.name for each in fields(kind)]
        return lambda value, names: (kind.__name__, *[walk(getattr(value, name), names) for name in chosen])
    raise AssertionError(f"the projection does not know {kind.__module__}.{kind.__name__}")


def _refer(value: Any) -> Any:
    """Return which object is meant; its contents are in the projection of its owner."""
    if isinstance(value, Primary):
        return "primary", int(value.epoch), value.leads
    assert isinstance(value, Context | Replica), f"the projection does not know what {value} waits for"
    return type(value).__name__


def _dict(value: dict[Any, Any], names: Names) -> Any:
    return tuple(sorted([(walk(key, names), walk(item, names)) for key, item in value.items()]))


def fields_of(value: Any, names: Names) -> Any:
    """Return what distinguishes an object of a class in FIELDS."""
    table = FIELDS[type(value)]
    found = [walk(part(value), names) for part in table.part.values()]
    for name in table.whole:
        item = getattr(value, name)
        if (type(value), name) in _OWNED and item is not None:
            found.append(fields_of(item, names))
        elif name in table.unordered:
            found.append(tuple(sorted(walk(item, names))))
        else:
            found.append(walk(item, names))
    return tuple(found)


_OWNED: Final = {(Node, "context"), (Replica, "primary")}
"""The owners of a context and a primary; elsewhere they are only referred to."""
