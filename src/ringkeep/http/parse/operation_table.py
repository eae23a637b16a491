"""The table of operations as JSON says them: which members each takes, of which types, and what they become.

Shared by `POST /v1/kv/{key}` and by batches. Knows nothing of what an operation does: that is the core's
table.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

from ringkeep.core.protocol.client_requests import ABSENT, ANY, PRESENT, Kind
from ringkeep.core.state.operations import pack_numbers
from ringkeep.http.parse.header_fields import stored_content_type
from ringkeep.http.parse.json_members import bytes_of, null_member
from ringkeep.http.parse.target import MAX_VERSION
from ringkeep.http.parse.time_to_live import KEEP_WORD, parse_ttl, wrong_ttl
from ringkeep.http.problems import Problem, bad

_VALUE: Final = ("value", "value_base64", "content_type")
CONDITIONS: Final = ("if_version", "if_absent", "if_present")

TAKES: Final[Mapping[str, tuple[str, ...]]] = {
    "add": ("by", "initial", "ttl"),
    "append": (*_VALUE, "ttl"),
    "swap": (*_VALUE, "ttl"),
    "take": (),
    "touch": ("ttl",),
    "persist": (),
}
"""The members that each operation on one key takes, beside a condition."""

BATCH_TAKES: Final[Mapping[str, tuple[str, ...]]] = {
    "get": (), "put": (*_VALUE, "ttl"), "delete": (), **TAKES,
}  # fmt: skip
"""Those of a batch, beside a key and (but for "get") a condition."""

_KINDS: Final = {name: Kind[name.upper()] for name in BATCH_TAKES}
_ALLOWED: Final = {
    name: frozenset(("op", "key", "key_base64", *members, *(() if name == "get" else CONDITIONS)))
    for name, members in BATCH_TAKES.items()
}
_LEAST, _MOST = -(2**63), 2**63 - 1
_STORING: Final = frozenset({Kind.PUT, Kind.APPEND, Kind.SWAP})
_SHAPES: Final = {int: "an integer, without quotes or a fraction", bool: "true", str: "a JSON string"}


class Members(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """The members of any operation, but for its key."""

    op: str | None = None
    by: int | None = None
    initial: int | None = None
    value: str | None = None
    value_base64: str | None = None
    content_type: str | None = None
    ttl: str | None = None
    if_version: int | None = None
    if_absent: bool | None = None
    if_present: bool | None = None


TYPES: Final[Mapping[str, type]] = {
    name: int if name in ("by", "initial", "if_version") else bool if name in CONDITIONS else str
    for name in Members.__struct_fields__
}


class Operation(NamedTuple):
    """An operation as `Request` has it."""

    kind: Kind
    value: bytes
    content_type: bytes
    ttl_ms: int
    condition: int


def operation_of(members: Mapping[str, Any]) -> Operation:
    """Return the operation of members that are there and have their types, of which "op" is in the table.

    Raises Problem: 400 for a member that it does not take, or with a wrong value, 413.
    """
    op = members["op"]
    if not members.keys() <= _ALLOWED[op]:
        raise not_taken(op, next(name for name in members if name not in _ALLOWED[op]))
    kind = _KINDS[op]
    value, content_type = b"", b""
    if kind in _STORING:
        value = bytes_of("value", members.get("value"), members.get("value_base64"))
        if "content_type" in members:
            content_type = stored_content_type(members["content_type"].encode())
    elif kind is Kind.ADD:
        by, initial = (_whole(members, name, default) for name, default in (("by", 1), ("initial", 0)))
        value = pack_numbers(by, initial)
    return Operation(kind, value, content_type, _ttl(kind, members.get("ttl")), condition_of(members))


def _ttl(kind: Kind, text: str | None) -> int:
    """Return the ttl as `Request.ttl_ms` has it. Raises Problem (400)."""
    if text is None:
        if kind is Kind.TOUCH:
            raise bad('The operation "touch" needs the member \'ttl\', such as "30s".')
        return 0
    if text == KEEP_WORD and (kind is Kind.ADD or kind is Kind.APPEND):
        raise bad(
            f"The operation \"{kind.name.lower()}\" keeps the ttl by itself; leave the member 'ttl' out."
        )
    return parse_ttl(text, "The member", keeps=kind is Kind.SWAP or kind is Kind.PUT)


def condition_of(members: Mapping[str, Any]) -> int:
    """Return the condition as `Request.condition` has it. Raises Problem (400)."""
    named = [name for name in CONDITIONS if name in members]
    if not named:
        return ANY
    if len(named) > 1:
        raise bad(f"An operation takes one condition, not {' and '.join(map(repr, named))}.")
    if named == ["if_version"]:
        version: int = members["if_version"]
        if not 1 <= version <= MAX_VERSION:
            raise bad("The member 'if_version' must be a version: a positive integer of at most 63 bits.")
        return version
    if members[named[0]] is not True:
        raise bad(f"The member {named[0]!r} must be true; leave it out for no condition.")
    return ABSENT if named == ["if_absent"] else PRESENT


def wrong_member(members: Mapping[str, object], types: Mapping[str, type]) -> Problem | None:
    """Say what is wrong with a member that is known: null, or of another type. None if nothing is."""
    for name, value in members.items():
        wanted = types.get(name)
        if wanted is None:
            continue
        if value is None:
            return null_member(name)
        if type(value) is not wanted:
            return wrong_ttl() if name == "ttl" else bad(f"The member {name!r} must be {_SHAPES[wanted]}.")
    return None


def not_taken(op: str, name: str) -> Problem:
    """Return the 400 of a member that an operation does not take."""
    conditions = () if op == "get" else CONDITIONS
    takes = ", ".join((*BATCH_TAKES[op], *conditions)) or "nothing but a key"
    return bad(f'The operation "{op}" takes no member {name[:80]!r}; it takes: {takes}.')


def _whole(members: Mapping[str, Any], name: str, default: int) -> int:
    number: int = members.get(name, default)
    if not _LEAST <= number <= _MOST:
        raise bad(f"The member {name!r} is no signed 64-bit integer: it must be from {_LEAST} to {_MOST}.")
    return number
