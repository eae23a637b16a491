"""What `POST /v1/kv/{key}` takes: one row of the table of operations, with its arguments."""

import json
from typing import Final

import msgspec

from ringkeep.core.protocol.client_requests import ANY
from ringkeep.http.parse.json_members import check_once
from ringkeep.http.parse.operation_table import (
    CONDITIONS,
    TAKES,
    TYPES,
    Members,
    Operation,
    not_taken,
    operation_of,
    wrong_member,
)
from ringkeep.http.problems import Problem, bad

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

_decode: Final = msgspec.json.Decoder(Members).decode


def parse_operation(body: bytes) -> Operation:
    """Return the operation. Raises Problem: 400 for anything that is not as documented, 413."""
    try:
        given = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _refusal(body, str(error)) from None
    members = {name: value for name, value in msgspec.structs.asdict(given).items() if value is not None}
    check_once(body, len(members), sum(type(value) is str for value in members.values()))
    _check_name(given.op)
    return operation_of(members)


def _check_name(op: str | None) -> None:
    """Raise Problem (400) unless it is an operation of this route."""
    if op is None:
        raise bad(f"The body names no operation: 'op' is one of {_NAMES}; send JSON like {_EXAMPLE}.")
    if op not in TAKES:
        here = _CALLED_HERE.get(op.lower())
        hint = f" (here that is {here})" if here else ""
        raise bad(f"There is no operation {op[:64]!r}{hint}; 'op' is one of {_NAMES}.")


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
        if isinstance(op, str) and op in TAKES and name not in ("op", *TAKES[op], *CONDITIONS):
            return not_taken(op, name)
        if name not in TYPES:
            return bad(f"There is no member {name[:80]!r}; known are: {', '.join(TYPES)}.")
        wrong = wrong_member({name: value}, TYPES)
        if wrong is not None:
            return wrong
    return bad(f"The body must be JSON like {_EXAMPLE}: {error[:200]}.")
