"""What `POST /v1/batch` takes: operations in order; of an atomic one, conditions, and what a failure does."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from ringkeep.core.cluster.slots import slot_of
from ringkeep.core.protocol.batch import CHECK, Step
from ringkeep.core.protocol.client_requests import ANY
from ringkeep.http.limits import BATCH_OPERATIONS
from ringkeep.http.parse.json_members import bytes_of, check_once, null_member
from ringkeep.http.parse.operation_table import (
    BATCH_TAKES,
    CONDITIONS,
    TYPES,
    Members,
    condition_of,
    operation_of,
    wrong_member,
)
from ringkeep.http.parse.target import check_key
from ringkeep.http.problems import TOO_LARGE, Problem, bad

GO_ON: Final = "continue"
_EXAMPLE: Final = '{"operations": [{"op": "put", "key": "k", "value": "v"}, {"op": "get", "key": "l"}]}'
_NAMES: Final = ", ".join(BATCH_TAKES)


class _Operation(Members, forbid_unknown_fields=True, gc=False):
    key: str | None = None
    key_base64: str | None = None


class _Condition(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    key: str | None = None
    key_base64: str | None = None
    if_version: int | None = None
    if_absent: bool | None = None
    if_present: bool | None = None


class _Batch(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    operations: list[_Operation] | None = None
    atomic: bool | None = None
    conditions: list[_Condition] | None = None
    on_error: str | None = None


_TYPES: Final = {**TYPES, "key": str, "key_base64": str}
_decode: Final = msgspec.json.Decoder(_Batch).decode
_as_dict: Final = msgspec.structs.asdict


@dataclass(slots=True)
class Batch:
    """A batch. `conditions` come before `steps`; `goes_on`: a step that fails does not undo the others."""

    steps: list[Step]
    conditions: list[Step]
    atomic: bool
    goes_on: bool


def parse_batch(body: bytes) -> Batch:
    """Return the batch. Raises Problem: 400 for anything that is not as documented, 413."""
    try:
        given = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _refusal(body, str(error)) from None
    operations = [_members(each) for each in given.operations or ()]
    conditions = [_members(each) for each in given.conditions or ()]
    outer = _members(given)
    counted = [*operations, *conditions]
    texts = sum([type(value) is str for each in counted for value in each.values()])
    check_once(body, len(outer) + sum(map(len, counted)), texts + ("on_error" in outer))
    atomic = bool(given.atomic)
    _check(outer, operations, conditions)
    batch = Batch(
        _each("Operation", operations, _step), _each("Condition", conditions, _guard), atomic,
        given.on_error is not None,
    )  # fmt: skip
    if atomic:
        _check_slots(batch)
    return batch


def _members(given: msgspec.Struct) -> dict[str, Any]:
    return {name: value for name, value in _as_dict(given).items() if value is not None}


def _check(
    outer: Mapping[str, Any], operations: Sequence[Mapping[str, Any]], conditions: Sequence[Mapping[str, Any]]
) -> None:
    """Raise Problem for what is wrong with the batch as a whole."""
    if not operations:
        raise bad(f"The body holds no operations; send JSON like {_EXAMPLE}.")
    if len(operations) > BATCH_OPERATIONS or len(conditions) > BATCH_OPERATIONS:
        raise Problem(
            TOO_LARGE,
            f"A batch has at most {BATCH_OPERATIONS:,} operations, and as many conditions. "
            "Nothing was applied; send several batches.",
        )
    if not outer.get("atomic"):
        for name in ("conditions", "on_error"):
            if name in outer:
                raise bad(f'The member {name!r} needs "atomic": true; otherwise each operation has its own.')
    if outer.get("on_error", GO_ON) != GO_ON:
        raise bad(f"The member 'on_error' must be {GO_ON!r}; without it a failure undoes the whole batch.")


def _each(
    what: str, given: Sequence[Mapping[str, Any]], made: Callable[[Mapping[str, Any]], Step]
) -> list[Step]:
    """Return the steps of these members; a Problem says of which one it is."""
    steps: list[Step] = []
    try:
        for members in given:
            steps.append(made(members))
    except Problem as problem:
        problem.detail = f"{what} {len(steps)} (from 0): {problem.detail}"
        raise
    return steps


def _step(members: Mapping[str, Any]) -> Step:
    op = members.get("op")
    if op not in BATCH_TAKES:
        said = "names no operation" if op is None else f"names {op[:64]!r}, which there is not"
        raise bad(f"It {said}: 'op' is one of {_NAMES}.")
    kind, value, content_type, ttl_ms, condition = operation_of(members)
    return Step(kind, _key(members), value, content_type, condition, ttl_ms)


def _guard(members: Mapping[str, Any]) -> Step:
    condition = condition_of(members)
    if condition == ANY:
        raise bad(f"It names no condition: one of {', '.join(CONDITIONS)}.")
    return Step(CHECK, _key(members), condition=condition)


def _key(members: Mapping[str, Any]) -> bytes:
    return check_key(bytes_of("key", members.get("key"), members.get("key_base64")))


def _check_slots(batch: Batch) -> None:
    """Raise Problem (400) unless one partition has all keys for sure, however many there are."""
    steps = [*batch.conditions, *batch.steps]
    slot = slot_of(steps[0].key)
    for each in steps:
        if slot_of(each.key) != slot:
            raise bad(
                f"The keys {_shown(steps[0].key)} and {_shown(each.key)} of an atomic batch do not share a "
                "slot. Give them a common tag: it alone makes the slot of {user1}.name and {user1}.mail."
            )


def _shown(key: bytes) -> str:
    return repr(key[:40].decode("utf-8", "replace"))


def _refusal(body: bytes, error: str) -> Problem:
    """Say what is wrong with a body that the decoder refused, and how to send it."""
    try:
        outer = json.loads(body)
    except (ValueError, RecursionError):
        outer = None
    if not isinstance(outer, dict):
        return bad(f"The body is not a JSON object like {_EXAMPLE}: {error[:200]}.")
    for name, value in outer.items():
        if name not in _Batch.__struct_fields__:
            known = ", ".join(_Batch.__struct_fields__)
            return bad(f"There is no member {name[:80]!r}; known are: {known}.")
        if value is None:
            return null_member(name)
    for what, known_members in (("operations", _Operation), ("conditions", _Condition)):
        listed = outer.get(what, [])
        if not isinstance(listed, list):
            return bad(f"The member {what!r} must be an array; send JSON like {_EXAMPLE}.")
        for position, members in enumerate(listed):
            wrong = _wrong(members, known_members.__struct_fields__)
            if wrong is not None:
                wrong.detail = f"{what[:-1].capitalize()} {position} (from 0): {wrong.detail}"
                return wrong
    return bad(f"The body must be JSON like {_EXAMPLE}: {error[:200]}.")


def _wrong(members: object, known: tuple[str, ...]) -> Problem | None:
    if not isinstance(members, dict):
        return bad("It is no JSON object.")
    for name in members:
        if name not in known:
            return bad(f"There is no member {name[:80]!r}; known are: {', '.join(known)}.")
    return wrong_member(members, _TYPES)
