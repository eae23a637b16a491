"""The store's operations as requests, and what their answers mean, for both clients.

The interface is described in docs/http.md.
"""

import math
import secrets
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any, Final, Generic, Literal, NoReturn, TypeAlias, TypeVar

import msgspec

from ringkeep.client.calls.attempts import detail_of
from ringkeep.client.calls.exchange import Call, Request, Response, quoted
from ringkeep.client.codecs import Codec
from ringkeep.client.errors import (
    Conflict,
    HistoryLost,
    Invalid,
    NotFound,
    Rejected,
    StoreError,
    Unreadable,
    WrongType,
)
from ringkeep.client.results import Appended, Counted, Item, Record, Swapped, Written

T = TypeVar("T")

Key: TypeAlias = str | bytes
"""A text stands for its UTF-8."""
Seconds: TypeAlias = float | timedelta
Ttl: TypeAlias = Seconds | Literal["keep"] | None
"""How long a key lives: for ever with None, what is left of its time with "keep"."""
Condition: TypeAlias = dict[str, int | bool]
Made = TypeVar("Made")

_UNTYPED: Final = "application/octet-stream"


class Member(msgspec.Struct):
    """A result as JSON has it: of an operation on one key, of a step of a batch, or of a listing."""

    version: int = 0
    status: int = 200
    key: str | None = None
    key_base64: bytes | None = None
    value: str | None = None
    value_base64: bytes | None = None
    content_type: str = ""
    ttl: int | None = None
    length: int = 0
    replaced: bool = False
    outcome: str = ""
    detail: str = ""

    @property
    def name(self) -> bytes:
        """The key's bytes."""
        return self.key_base64 if self.key is None else self.key.encode()  # type: ignore[return-value]

    @property
    def data(self) -> bytes | None:
        """The value's bytes, None if there are none."""
        return self.value.encode() if self.value is not None else self.value_base64


class _Page(msgspec.Struct):
    items: list[Member] = []
    next: str | None = None
    next_base64: bytes | None = None
    count: int = 0
    cursor: str = ""
    until: str = ""

    @property
    def after(self) -> bytes | None:
        return self.next.encode() if self.next is not None else self.next_base64


_MEMBER: Final = msgspec.json.Decoder(Member)
_PAGE: Final = msgspec.json.Decoder(_Page)
_JSON: Final = msgspec.json.Encoder()


def key_of(key: Key) -> bytes:
    """Return a key's bytes. Raises TypeError if it is neither text nor bytes, ValueError if it is empty."""
    data = key.encode() if isinstance(key, str) else key
    if not isinstance(data, bytes):
        raise TypeError(f"a key is a text or bytes, not {type(key).__name__}")
    if not data:
        raise ValueError("a key has at least one byte")
    return data


def ttl_of(ttl: Ttl) -> str:
    """Return a ttl as the interface has it. Raises ValueError if it is not positive."""
    if isinstance(ttl, str):
        if ttl != "keep":
            raise ValueError(f"a ttl is a number of seconds, a timedelta, None or 'keep', not {ttl!r}")
        return ttl
    seconds = ttl.total_seconds() if isinstance(ttl, timedelta) else ttl
    if seconds is None or not seconds > 0:
        raise ValueError(f"a ttl is a positive number of seconds, not {seconds!r}")
    return f"{max(1, math.ceil(seconds * 1_000))}ms"


def length_of(ttl: Seconds | None) -> float | None:
    """Return a ttl in seconds."""
    return ttl.total_seconds() if isinstance(ttl, timedelta) else ttl


def living(ttl: Ttl) -> dict[str, str]:
    """Return a ttl as a member of a JSON object; {} for none."""
    return {} if ttl is None else {"ttl": ttl_of(ttl)}


def condition_of(
    if_version: int | None = None, if_absent: bool = False, if_present: bool = False
) -> Condition:
    """Return the condition of a write, as the interface has it in JSON; {} for none."""
    said: Condition = {}
    if if_version is not None:
        said["if_version"] = if_version
    if if_absent:
        said["if_absent"] = True
    if if_present:
        said["if_present"] = True
    if len(said) > 1:
        raise ValueError(f"one condition at most: {', '.join(said)}")
    return said


def condition_headers(condition: Condition) -> dict[str, str]:
    """Return the same as header fields."""
    match condition:
        case {"if_version": version}:
            return {"If-Match": f'"{version}"'}
        case {"if_absent": True}:
            return {"If-None-Match": "*"}
        case {"if_present": True}:
            return {"If-Match": "*"}
    return {}


def new_idempotency_key() -> str:
    """Return a name that no other write has."""
    return secrets.token_urlsafe(18)


def named(name: str, data: bytes) -> dict[str, str | bytes]:
    """Return bytes as a member of a JSON object: as text where they are UTF-8 (else base64, by msgspec)."""
    try:
        return {name: data.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": data}


# --- answers ------------------------------------------------------------------------------------------


def refuse(response: Response) -> NoReturn:
    """Raise what an answer other than a success means."""
    detail, status = detail_of(response), response.status
    if status == 412:
        raise Conflict(detail, status=status, version=_tagged(response) or 0)
    errors: dict[int, Callable[..., StoreError]] = {404: NotFound, 409: WrongType, 410: HistoryLost}
    if status in errors:
        raise errors[status](detail, status=status)
    if 400 <= status < 500:
        raise Invalid(detail, status=status)
    raise Rejected(f"an answer that no node gives (is this a Ringkeep node?): {detail}", status=status)


def _tagged(response: Response) -> int | None:
    """Return the version that an answer's ETag tells."""
    digits = response.headers.get("etag", "").removeprefix("W/").strip('"')
    return int(digits) if digits.isdecimal() and len(digits) < 20 else None


def _version(response: Response) -> int:
    version = _tagged(response)
    if version is None:
        raise ValueError("without a version")
    return version


def decoded(codec: Codec[T], data: bytes, content_type: str, key: bytes) -> T:
    """Return the value of these bytes. Raises Invalid if the codec cannot read them."""
    try:
        return codec.decode(data, content_type)
    except (ValueError, RecursionError) as error:
        raise Invalid(f"the value of {key!r} is not what this client reads: {error}") from error


def removed(codec: Codec[T], data: bytes, content_type: str, key: bytes, version: int) -> T:
    """Return the value that a write has removed. Raises Unreadable, with its bytes: they are nowhere else."""
    try:
        return codec.decode(data, content_type)
    except (ValueError, RecursionError) as error:
        raise Unreadable(
            f"the write was applied, and the old value of {key!r} is not what this client reads: {error}",
            data=data, content_type=content_type, version=version,
        ) from error  # fmt: skip


def _as(decoder: "msgspec.json.Decoder[Made]", response: Response) -> Made:
    if not 200 <= response.status < 300:
        refuse(response)
    return decoder.decode(response.body)  # what it raises is a ValueError


def _seconds(milliseconds: int | str | None) -> float | None:
    return int(milliseconds) / 1_000 if milliseconds else None


# --- requests -----------------------------------------------------------------------------------------


class Requests(Generic[T]):
    """The operations for values of one type."""

    def __init__(self, codec: Codec[T]) -> None:
        self.codec = codec

    def get(self, key: Key, *, stale: bool, at_least: int | None) -> Call[Record[T]]:
        query = ["consistency=stale"] if stale else []
        if at_least is not None:
            query.append(f"at_least={at_least}")
        name = key_of(key)
        return Call(
            Request("GET", _path(name), query, key=name, name="get"), partial(self._read_record, name)
        )

    def _read_record(self, key: bytes, response: Response) -> Record[T]:
        if response.status != 200:
            refuse(response)
        headers = response.headers
        content_type = headers.get("content-type", _UNTYPED)
        value = decoded(self.codec, response.body, content_type, key)
        return Record(key, value, _version(response), _seconds(headers.get("ringkeep-ttl")), content_type)

    def exists(self, key: Key) -> Call[bool]:
        name = key_of(key)

        def read(response: Response) -> bool:
            if response.status not in (200, 404):
                refuse(response)
            return response.status == 200

        return Call(Request("HEAD", _path(name), key=name, name="exists"), read)

    def wait(self, key: Key, newer_than: int, seconds: float) -> Call[bool]:
        name = key_of(key)
        query = [f"newer_than={newer_than}", f"wait={max(1, round(min(seconds, 60.0) * 1_000))}ms"]

        def read(response: Response) -> bool:
            if response.status not in (200, 304, 404):
                refuse(response)
            return response.status != 304

        waits_s = min(seconds, 60.0)
        request = Request("GET", _path(name), query, key=name, timed=False, waits_s=waits_s, name="wait")
        return Call(request, read)

    def put(
        self, key: Key, value: T, ttl: Ttl, content_type: str, condition: Condition, idempotency_key: str
    ) -> Call[Written]:
        name = key_of(key)
        headers = condition_headers(condition)
        content_type = content_type or self.codec.content_type
        if content_type:
            headers["Content-Type"] = content_type
        query = [] if ttl is None else [f"ttl={ttl_of(ttl)}"]
        wanted = idempotency_key or new_idempotency_key()
        data = self.codec.encode(value)
        request = Request("PUT", _path(name), query, data, headers, name, wanted, name="put")
        return Call(request, partial(_read_written, name))

    def delete(self, key: Key, condition: Condition, idempotency_key: str) -> Call[bool]:
        name = key_of(key)

        def read(response: Response) -> bool:
            if response.status not in (204, 404):
                refuse(response)
            return response.status == 204

        headers, wanted = condition_headers(condition), idempotency_key or new_idempotency_key()
        request = Request("DELETE", _path(name), [], b"", headers, name, wanted, name="delete")
        return Call(request, read)

    # --- operations on one key ------------------------------------------------------------------------

    def add(
        self, key: Key, by: int, initial: int, ttl: Ttl, condition: Condition, idempotency_key: str
    ) -> Call[Counted]:
        said = {"op": "add", "by": by, "initial": initial, **living(ttl), **condition}
        return self._operate(key, said, self.counted, idempotency_key)

    def append(self, key: Key, data: bytes, ttl: Ttl, idempotency_key: str) -> Call[Appended]:
        said = {"op": "append", **named("value", data), **living(ttl)}
        return self._operate(key, said, self.appended, idempotency_key)

    def swap(
        self, key: Key, value: T, ttl: Ttl, content_type: str, condition: Condition, idempotency_key: str
    ) -> Call[Swapped[T]]:
        said = {"op": "swap", **self.valued(value, content_type), **living(ttl), **condition}
        return self._operate(key, said, self.swapped, idempotency_key)

    def take(self, key: Key, condition: Condition, idempotency_key: str) -> Call[Record[T]]:
        return self._operate(key, {"op": "take", **condition}, self.taken, idempotency_key)

    def touch(self, key: Key, ttl: Ttl, condition: Condition, idempotency_key: str) -> Call[Written]:
        said = {"op": "touch", "ttl": ttl_of(ttl), **condition}
        return self._operate(key, said, self.written, idempotency_key)

    def persist(self, key: Key, condition: Condition, idempotency_key: str) -> Call[Written]:
        return self._operate(key, {"op": "persist", **condition}, self.written, idempotency_key)

    def _operate(
        self, key: Key, said: dict[str, Any], read: Callable[[bytes, Member], Made], idempotency_key: str
    ) -> Call[Made]:
        name = key_of(key)

        def understand(response: Response) -> Made:
            member = _as(_MEMBER, response)
            member.status = response.status
            return read(name, member)

        wanted = idempotency_key or new_idempotency_key()
        body = _JSON.encode(said)
        request = Request("POST", _path(name), [], body, {}, name, wanted, name=str(said["op"]))
        return Call(request, understand)

    def valued(self, value: T, content_type: str) -> dict[str, str | bytes]:
        """Return a value as members of a JSON object."""
        content_type = content_type or self.codec.content_type
        typed: dict[str, str | bytes] = {"content_type": content_type} if content_type else {}
        return {**named("value", self.codec.encode(value)), **typed}

    # What the members of an answer, or of a step of a batch, mean.

    def counted(self, key: bytes, member: Member) -> Counted:
        return Counted(key, int(member.value or "0"), member.version, member.status == 201)

    def appended(self, key: bytes, member: Member) -> Appended:
        return Appended(key, member.length, member.version, member.status == 201)

    def written(self, key: bytes, member: Member) -> Written:
        return Written(key, member.version, member.status == 201)

    def swapped(self, key: bytes, member: Member) -> Swapped[T]:
        data, version = member.data or b"", member.version
        old = removed(self.codec, data, member.content_type, key, version) if member.replaced else None
        return Swapped(key, old, member.version, not member.replaced)

    def taken(self, key: bytes, member: Member) -> Record[T]:
        content_type = member.content_type or _UNTYPED
        value = removed(self.codec, member.data or b"", content_type, key, member.version)
        return Record(key, value, member.version, None, content_type)

    def record(self, key: bytes, member: Member) -> Record[T]:
        content_type = member.content_type or _UNTYPED
        value = decoded(self.codec, member.data or b"", content_type, key)
        return Record(key, value, member.version, _seconds(member.ttl), content_type)

    # --- ranges ---------------------------------------------------------------------------------------

    def page(self, span: "Span", *, limit: int, values: bool) -> Call["Page[T]"]:
        query = [*span.query, f"limit={limit}", *(["values=true"] if values else [])]

        def read(response: Response) -> Page[T]:
            page = _as(_PAGE, response)
            items = [
                Item(
                    each.name,
                    each.version,
                    self._value(each) if values else None,
                    _seconds(each.ttl),
                    each.content_type,
                )
                for each in page.items
            ]
            return Page(items, page.after, page.cursor)

        return Call(Request("GET", "/v1/kv", query, name="list"), read)

    def _value(self, member: Member) -> T:
        return decoded(self.codec, member.data or b"", member.content_type or _UNTYPED, member.name)

    def count(self, span: "Span") -> Call[int]:
        request = Request("GET", "/v1/kv", [*span.query, "count=true"], name="count")
        return Call(request, lambda response: _as(_PAGE, response).count)

    def deletion(self, span: "Span", until: str, limit: int) -> Call["Deletion"]:
        """Return a part of a deletion; without `until` one that only begins it (`limit` 0)."""
        headers = {"Ringkeep-Until": until} if until else {}
        query = [*span.query, f"limit={limit}"]
        request = Request("DELETE", "/v1/kv", query, b"", headers, changes=True, name="delete_prefix")
        return Call(request, lambda response: _as(_DELETION, response))


class Span:
    """A range of keys: those with `prefix`, after `after` and before `before`."""

    def __init__(self, prefix: Key = b"", after: Key = b"", before: Key = b"") -> None:
        self.prefix, self.after, self.before = (
            each.encode() if isinstance(each, str) else bytes(each) for each in (prefix, after, before)
        )

    @property
    def query(self) -> list[str]:
        named = (("prefix", self.prefix), ("after", self.after), ("before", self.before))
        return [f"{name}={quoted(value)}" for name, value in named if value]

    def behind(self, after: bytes) -> "Span":
        """Return what is left of it after this key."""
        return Span(self.prefix, after, self.before)


class Page(Generic[T]):
    """A part of a listing. `after`: go on after this key; None: it is complete. `cursor`: of the feed, where
    it was asked for."""

    def __init__(self, items: list[Item[T]], after: bytes | None, cursor: str) -> None:
        self.items = items
        self.after = after
        self.cursor = cursor


class Deletion(msgspec.Struct):
    """How far a deletion by prefix has come."""

    count: int = 0
    next: str | None = None
    next_base64: bytes | None = None
    until: str = ""
    unknown: int = 0

    @property
    def after(self) -> bytes | None:
        """Go on after this key; None: it is complete."""
        return self.next.encode() if self.next is not None else self.next_base64


_DELETION: Final = msgspec.json.Decoder(Deletion)


def _path(key: bytes) -> str:
    return f"/v1/kv/{quoted(key)}"


def _read_written(key: bytes, response: Response) -> Written:
    if response.status not in (200, 201):
        refuse(response)
    return Written(key, _version(response), response.status == 201)
