"""What `POST /v1/kv/{key}` takes: an operation on one key, with its arguments, a condition, a ttl.

`TAKES` is the table of operations. Knows nothing of what an operation does: that is the core's table.
"""

import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

from ringkeep.core.protocol.client_requests import ABSENT, ANY, PRESENT, Kind
from ringkeep.core.replication.operations import pack_numbers
from ringkeep.http.parse.header_fields import stored_content_type
from ringkeep.http.parse.json_members import bytes_of, check_once, null_member
from ringkeep.http.parse.put_body import check_value
from ringkeep.http.parse.target import MAX_VERSION
from ringkeep.http.parse.time_to_live import KEEP_WORD, parse_ttl, wrong_ttl
from ringkeep.http.problems import Problem, bad

_VALUE: Final = ("value", "value_base64", "content_type")
_CONDITIONS: Final = ("if_version", "if_absent", "if_present")

TAKES: Final[Mapping[str, tuple[str, ...]]] = {
    "add": ("by", "initial", "ttl"),
    "append": (*_VALUE, "ttl"),
    "swap": (*_VALUE, "ttl"),
    "take": (),
    "touch": ("ttl",),
    "persist": (),
}
"""The members that each operation takes, beside a condition."""

_KINDS: Final = {name: Kind[name.upper()] for name in TAKES}
_ALLOWED: Final = {name: frozenset(("op", *members, *_CONDITIONS)) for name, members in TAKES.items()}
_LEAST, _MOST = -(2**63), 2**63 - 1
_NAMES: Final = ", ".join(TAKES)
_EXAMPLE: Final = '{"op": "add", "by": 1}'
_CALLED_HERE: Final = {
    "get": "GET /v1/kv/KEY",
    "put": "PUT /v1/kv/KEY",
    "set": "PUT /v1/kv/KEY",
    "delete": "DELETE /v1/kv/KEY",
    "del": "DELETE /v1/kv/KEY",
    "incr": '"add"',
    "increment": '"add"',
    "decr": '"add" with a negative "by"',
    "getset": '"swap"',
    "getdel": '"take"',
    "expire": '"touch"',
}  # what people call it elsewhere
_SHAPES: Final = {int: "an integer, without quotes or a fraction", bool: "true", str: "a JSON string"}


class _Operation(msgspec.Struct, forbid_unknown_fields=True, gc=False):
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


_TYPES: Final[Mapping[str, type]] = {
    name: int if name in ("by", "initial", "if_version") else bool if name in _CONDITIONS else str
    for name in _Operation.__struct_fields__
}
_decode: Final = msgspec.json.Decoder(_Operation).decode


class Operation(NamedTuple):
    """An operation as `Request` has it."""

    kind: Kind
    value: bytes
    content_type: bytes
    ttl_ms: int
    condition: int


def parse_operation(body: bytes) -> Operation:
    """Return the operation. Raises Problem: 400 for anything that is not as documented, 413."""
    try:
        given = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _refusal(body, str(error)) from None
    members = {
        name: value for name in _Operation.__struct_fields__ if (value := getattr(given, name)) is not None
    }
    check_once(body, len(members), sum(type(value) is str for value in members.values()))
    kind = _kind(given.op, members)
    value, content_type = b"", b""
    if kind is Kind.ADD:
        by, initial = (_whole(members, name, default) for name, default in (("by", 1), ("initial", 0)))
        value = pack_numbers(by, initial)
    elif kind is Kind.APPEND or kind is Kind.SWAP:
        value = bytes_of("value", given.value, given.value_base64)
        check_value(value)
        content_type = stored_content_type((given.content_type or "").encode())
    return Operation(kind, value, content_type, _ttl(kind, given.ttl), _condition(members))


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
    return parse_ttl(text, "The member", keeps=kind is Kind.SWAP)


def _kind(op: str | None, members: Mapping[str, Any]) -> Kind:
    """Return which operation it is. Raises Problem (400) if there is none, or for a member of another one."""
    if op is None:
        raise bad(f"The body names no operation: 'op' is one of {_NAMES}; send JSON like {_EXAMPLE}.")
    kind = _KINDS.get(op)
    if kind is None:
        here = _CALLED_HERE.get(op.lower())
        hint = f" (here that is {here})" if here else ""
        raise bad(f"There is no operation {op[:64]!r}{hint}; 'op' is one of {_NAMES}.")
    for name in members:
        if name not in _ALLOWED[op]:
            raise _not_taken(op, name)
    return kind


def _not_taken(op: str, name: str) -> Problem:
    takes = ", ".join((*TAKES[op], *_CONDITIONS))
    return bad(f'The operation "{op}" takes no member {name[:80]!r}; it takes: {takes}.')


def _whole(members: Mapping[str, Any], name: str, default: int) -> int:
    number: int = members.get(name, default)
    if not _LEAST <= number <= _MOST:
        raise bad(f"The member {name!r} is no signed 64-bit integer: it must be from {_LEAST} to {_MOST}.")
    return number


def _condition(members: Mapping[str, Any]) -> int:
    """Return the condition as `Request.condition` has it. Raises Problem (400)."""
    named = [name for name in _CONDITIONS if name in members]
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


def one_condition(field: int, member: int) -> int:
    """Return the condition of header fields and body together. Raises Problem (400) if they differ."""
    if field != ANY and member != ANY and field != member:
        raise bad("The header fields and the body name different conditions; give one of them.")
    return member if field == ANY else field


def _refusal(body: bytes, error: str) -> Problem:
    """Say what is wrong with a body that the decoder refused, and how to send it."""
    try:
        members = json.loads(body)
    except (ValueError, RecursionError):
        members = None
    if not isinstance(members, dict):
        return bad(f"The body is not a JSON object like {_EXAMPLE}: {error[:200]}.")
    op = members.get("op")
    for name, value in members.items():
        wanted = _TYPES.get(name)
        if isinstance(op, str) and op in TAKES and name not in _ALLOWED[op]:
            return _not_taken(op, name)
        if wanted is None:
            return bad(f"There is no member {name[:80]!r}; known are: {', '.join(_TYPES)}.")
        if value is None:
            return null_member(name)
        if type(value) is not wanted:
            return wrong_ttl() if name == "ttl" else bad(f"The member {name!r} must be {_SHAPES[wanted]}.")
    return bad(f"The body must be JSON like {_EXAMPLE}: {error[:200]}.")
