"""What an operator's order looks like: its path, its JSON and its query, read strictly.

Every refusal is a 400 that says what to write instead. Knows nothing of whether an order makes sense to the
cluster: that is the service's matter.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple, TypeGuard

from ringkeep import parsing
from ringkeep.core.cluster.cluster_settings import REPLICATION, SETTINGS
from ringkeep.core.protocol.limits import REPLICATIONS, WEIGHTS
from ringkeep.http.parse.target import unquote
from ringkeep.http.problems import bad

_MOST_PARTITION: Final = 65_535
_DIGITS: Final = re.compile(rb"[0-9]{1,9}")
_LOSS: Final = (
    "Recovering partitions lets them go on with the replicas that are left: writes that were acknowledged "
    "and are kept only on the lost ones are lost for good, and the lost ones never come back. If that is "
    'what you want, say so with "accept_loss": true.'
)


class PlanRequest(NamedTuple):
    """What would happen if a node joined or left. `zone` and `weight` count for a join."""

    action: Literal["join", "leave"]
    name: str
    zone: str
    weight: int


class RecoveryRequest(NamedTuple):
    """Which partitions are to go on after a loss, [] for all that need it; which nodes are gone for good."""

    partitions: list[int]
    lost: list[str]


def node_name(raw_path: bytes) -> str:
    """Return the node's name out of `/v1/cluster/nodes/{name}/…`. Raises Problem (400) for a broken escape.

    Bytes that are no UTF-8 are no node's name either; they are shown as such.
    """
    return unquote(raw_path.split(b"/")[4]).decode("utf-8", "replace")


def members_of(body: bytes, example: str, *allowed: str) -> dict[str, Any]:
    """Return the members of a JSON object, {} for an empty body; `example` says what it should look like.

    Raises Problem (400) for anything else, a member that is not `allowed`, and one given twice.
    """
    if not body.strip():
        return {}
    wanted = f"send a JSON object like {example}" if allowed else "send none, or {}"
    try:
        found = json.loads(body.decode(), object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise bad(f"The body is not the JSON that this route takes ({str(error)[:200]}); {wanted}.") from None
    if not isinstance(found, dict):
        raise bad(f"The body is not a JSON object; {wanted}.")
    for name in found:
        if name not in allowed:
            raise bad(f"This route takes no member {name[:64]!r}; {wanted}.")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a member is given twice")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def parse_nothing(body: bytes) -> None:
    """Raise Problem (400) unless the body is empty, or an empty object."""
    members_of(body, "{}")


def parse_dead(body: bytes, parameters: Mapping[str, bytes]) -> bool:
    """Return whether a node is to be given up as dead: `{"dead": true}`, or `?dead=true`.

    Raises Problem (400).
    """
    members = members_of(body, '{"dead": true}', "dead")
    said = {members["dead"]} if "dead" in members and isinstance(members["dead"], bool) else set()
    if "dead" in members and not said:
        raise bad("The member 'dead' must be true or false, such as {\"dead\": true}.")
    if "dead" in parameters:
        if parameters["dead"] not in (b"true", b"false"):
            raise bad("The parameter 'dead' must be 'true' or 'false'.")
        said.add(parameters["dead"] == b"true")
    if len(said) > 1:
        raise bad("The body and the query contradict each other about 'dead'; give one of them.")
    return said == {True}


def parse_weight(body: bytes) -> int:
    """Return the new weight out of `{"weight": 1…100}`. Raises Problem (400)."""
    members = members_of(body, '{"weight": 2}', "weight")
    if "weight" not in members:
        raise bad('The body names no weight; send a JSON object like {"weight": 2}.')
    return _whole("weight", members["weight"], WEIGHTS[0], WEIGHTS[-1])


def parse_settings(body: bytes) -> dict[str, int]:
    """Return the settings to change, at least one. Raises Problem (400)."""
    example = '{"moves_at_once": 4}'
    members = members_of(body, example, REPLICATION, *SETTINGS)
    if not members:
        known = ", ".join((REPLICATION, *SETTINGS))
        raise bad(f"The body names no setting; send a JSON object like {example}. There are: {known}.")
    return {name: _setting(name, value) for name, value in members.items()}


def _setting(name: str, value: object) -> int:
    if name in SETTINGS:
        return _whole(name, value, SETTINGS[name].least, SETTINGS[name].most)
    if type(value) is not int or value not in REPLICATIONS:
        raise bad(f"The member {name!r} must be 1, 3 or 5.")
    return value


def _whole(name: str, value: object, low: int, high: int) -> int:
    # A bool is an int to Python, and none to whoever wrote it.
    if type(value) is not int or not low <= value <= high:
        raise bad(f"The member {name!r} must be a whole number from {low} to {high}.")
    return value


def parse_plan(parameters: Mapping[str, bytes]) -> PlanRequest:
    """Return what is asked by `?join=NAME[&zone=Z][&weight=W]` or `?leave=NAME`. Raises Problem (400)."""
    if ("join" in parameters) == ("leave" in parameters):
        raise bad("Ask for one of '?join=NAME' (a node that would be added) and '?leave=NAME' (one of ours).")
    if "leave" in parameters:
        if len(parameters) > 1:
            raise bad("The parameters 'zone' and 'weight' go with 'join'; leave them out.")
        return PlanRequest("leave", _text("leave", parameters["leave"]), "", 1)
    weight = parameters.get("weight", b"1")
    if not _DIGITS.fullmatch(weight) or int(weight) not in WEIGHTS:
        raise bad(f"The parameter 'weight' must be a whole number from {WEIGHTS[0]} to {WEIGHTS[-1]}.")
    name, zone = _text("join", parameters["join"]), _text("zone", parameters.get("zone", b""))
    try:
        return PlanRequest("join", parsing.name(name), parsing.zone(zone) if zone else "", int(weight))
    except ValueError as error:
        raise bad(f"No node can join like this: {error}.") from None


def _text(name: str, raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise bad(f"The parameter {name!r} is not UTF-8.") from None


def parse_recover(body: bytes) -> RecoveryRequest:
    """Return what is to be recovered. Raises Problem (400)."""
    example = '{"partitions": [17], "accept_loss": true, "lost": ["node-2", "node-3"]}'
    members = members_of(body, example, "partitions", "accept_loss", "lost")
    wanted, lost = members.get("partitions"), members.get("lost", [])
    if wanted != "all" and not _are_partitions(wanted):
        raise bad(
            "The member 'partitions' must be \"all\" (those that need it), or a list of numbers, each once; "
            f"send a JSON object like {example}."
        )
    if members.get("accept_loss") is not True:
        raise bad(_LOSS)
    if not isinstance(lost, list) or not all(isinstance(each, str) for each in lost):
        raise bad(
            "The member 'lost' must be a list of names: of the nodes that are gone for good; "
            f"send a JSON object like {example}."
        )
    return RecoveryRequest(list(wanted) if _are_partitions(wanted) else [], list(dict.fromkeys(lost)))


def _are_partitions(wanted: object) -> TypeGuard[list[int]]:
    return (
        isinstance(wanted, list)
        and bool(wanted)
        and all(type(each) is int and 0 <= each <= _MOST_PARTITION for each in wanted)
        and len(set(wanted)) == len(wanted)
    )
