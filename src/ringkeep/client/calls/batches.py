"""Several operations in one request: collected first, sent together, each with a result of its own.

`Steps` is what batches and transactions of both clients collect; sending is theirs.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final, Generic, TypeVar

import msgspec

from ringkeep.client.calls.exchange import Call, Request, Response
from ringkeep.client.calls.requests import (
    Key,
    Member,
    Requests,
    Ttl,
    condition_of,
    key_of,
    living,
    named,
    new_idempotency_key,
    refuse,
)
from ringkeep.client.codecs import Codec
from ringkeep.client.errors import (
    Busy,
    Conflict,
    Indeterminate,
    Invalid,
    NotFound,
    StoreError,
    Unavailable,
    WrongType,
)
from ringkeep.client.results import Appended, Counted, Record, Swapped, Written
from ringkeep.core.cluster.slots import slot_of

T = TypeVar("T")
R = TypeVar("R")

MOST: Final = 1_024
"""Operations of one request."""
MOST_BYTES: Final = 3 << 20
"""Of one request, where it is the client that divides: a node takes 4 MiB."""
AGAIN: Final = frozenset({0, 429, 500, 503, 504, 507})
"""The statuses of operations that a repetition may still carry out; 0: there is no answer."""

AGAIN_PAUSE_S: Final = 0.1

_JSON: Final = msgspec.json.Encoder()


class _Answer(msgspec.Struct):
    results: list[Member] = []
    version: int = 0


class _Failed(msgspec.Struct):
    position: int | None = None
    condition: int | None = None
    version: int | None = None


class _Undone(msgspec.Struct):
    detail: str = ""
    failed: list[_Failed] = []


_ANSWER: Final = msgspec.json.Decoder(_Answer)
_UNDONE: Final = msgspec.json.Decoder(_Undone)


class Handle(Generic[R]):
    """The result of one operation, once its batch was sent."""

    __slots__ = ("_error", "_fine", "_idempotency_key", "_key", "_member", "_read")

    def __init__(self, key: bytes, read: Callable[[bytes, Member], R], fine: tuple[int, ...] = ()) -> None:
        self._key = key
        self._fine = fine  # statuses of which `read` makes a result
        self._read = read
        self._member: Member | None = None
        self._error: StoreError | None = None
        self._idempotency_key = ""

    def set(self, member: Member, idempotency_key: str) -> None:
        """Take the result as the answer has it."""
        self._member = member
        self._idempotency_key = idempotency_key

    def fail(self, error: StoreError) -> None:
        """Its request failed as a whole. What is known from an earlier one stays."""
        if self._member is None:
            self._error = error

    @property
    def status(self) -> int:
        """The HTTP status that the operation alone would be answered with; 0 if there is no answer."""
        return self._member.status if self._member is not None else 0

    def result(self) -> R:
        """Return what the operation's own call would return. Raises what it would raise, and ValueError if
        the batch was not sent, or was not carried out."""
        error = self.error
        if error is not None:
            raise error
        if self._member is None:
            raise ValueError("the batch has not been carried out")
        return self._read(self._key, self._member)

    @property
    def error(self) -> StoreError | None:
        """What `result` raises; None if it was carried out, or not sent."""
        if self._member is None:
            return self._error
        return (
            error_of(self._member, self._idempotency_key) if self._member.status not in self._fine else None
        )


def gravest(errors: Iterable[StoreError | None]) -> StoreError | None:
    """Return one of these: one that leaves open whether something was applied, if there is such a one."""
    found = [error for error in errors if error is not None]
    return next((error for error in found if isinstance(error, Indeterminate)), found[0] if found else None)


def raise_gravest(handles: Iterable["Handle[Any]"]) -> None:
    """Raise what went wrong, if anything did."""
    error = gravest(handle.error for handle in handles)
    if error is not None:
        raise error


def error_of(member: Member, idempotency_key: str = "") -> StoreError | None:
    """Return what the failure of one operation means; None for a success. `idempotency_key`: of the request
    that carried it, which would have to be repeated as a whole."""
    status, detail = member.status, member.detail or f"HTTP {member.status}"
    if status < 300:
        return None
    if member.outcome == "unknown":
        return Indeterminate(detail, status=status, idempotency_key=idempotency_key)
    if status == 412:
        return Conflict(detail, version=member.version or None)  # a batch tells no version then
    kinds: dict[int, type[StoreError]] = {404: NotFound, 409: WrongType, 429: Busy}
    if status in kinds:
        return kinds[status](detail, status=status)
    return (Invalid if status < 500 else Unavailable)(detail, status=status)


class Steps(Generic[T]):
    """Operations, in order. Each method adds one, and returns where its result will be."""

    def __init__(self, codec: Codec[T]) -> None:
        self._codec = codec
        self._requests = Requests(codec)
        self._operations: list[dict[str, Any]] = []
        self._handles: list[Handle[Any]] = []
        self._keys: list[bytes] = []

    def __len__(self) -> int:
        return len(self._operations)

    def get(self, key: Key) -> Handle[Record[T]]:
        """Read a key: `Client.get`."""
        return self._add(key, {"op": "get"}, self._requests.record)

    def put(
        self, key: Key, value: T, *, ttl: Ttl = None, content_type: str = "", if_version: int | None = None,
        if_absent: bool = False,
    ) -> Handle[Written]:  # fmt: skip
        """Store a value: `Client.put`."""
        said = {
            "op": "put",
            **self._requests.valued(value, content_type),
            **condition_of(if_version, if_absent),
        }
        return self._add(key, said, self._requests.written, ttl)

    def delete(self, key: Key, *, if_version: int | None = None) -> Handle[bool]:
        """Delete a key: `Client.delete`."""
        return self._add(key, {"op": "delete", **condition_of(if_version)}, _was_there, fine=(404,))

    def add(
        self, key: Key, by: int = 1, *, initial: int = 0, ttl: Ttl = None, if_present: bool = False
    ) -> Handle[Counted]:
        """Add to a number: `Client.add`."""
        said = {"op": "add", "by": by, "initial": initial, **condition_of(if_present=if_present)}
        return self._add(key, said, self._requests.counted, ttl)

    def append(self, key: Key, data: bytes, *, ttl: Ttl = None) -> Handle[Appended]:
        """Append bytes: `Client.append`."""
        return self._add(key, {"op": "append", **named("value", data)}, self._requests.appended, ttl)

    def swap(
        self, key: Key, value: T, *, ttl: Ttl = None, content_type: str = "", if_version: int | None = None
    ) -> Handle[Swapped[T]]:
        """Store a value, and return the old one: `Client.swap`."""
        said = {"op": "swap", **self._requests.valued(value, content_type), **condition_of(if_version)}
        return self._add(key, said, self._requests.swapped, ttl)

    def take(self, key: Key, *, if_version: int | None = None) -> Handle[Record[T]]:
        """Delete a key, and return what it held: `Client.take`."""
        return self._add(key, {"op": "take", **condition_of(if_version)}, self._requests.taken)

    def touch(self, key: Key, ttl: Ttl) -> Handle[Written]:
        """Give a key another time to live: `Client.touch`."""
        return self._add(key, {"op": "touch"}, self._requests.written, ttl)

    def persist(self, key: Key) -> Handle[Written]:
        """Let a key live for ever: `Client.persist`."""
        return self._add(key, {"op": "persist"}, self._requests.written)

    def _add(
        self, key: Key, said: dict[str, Any], read: Callable[[bytes, Member], R], ttl: Ttl = None,
        fine: tuple[int, ...] = (),
    ) -> Handle[R]:  # fmt: skip
        name = key_of(key)
        self._check(name)
        said |= living(ttl)
        handle = Handle(name, read, fine)
        self._operations.append({**said, **named("key", name)})
        self._handles.append(handle)
        self._keys.append(name)
        return handle

    def _check(self, key: bytes) -> None:
        """Refuse a key that does not belong here."""

    # --- the requests ---------------------------------------------------------------------------------

    def parts(self, place: Callable[[bytes], object], idempotency_key: str = "") -> "list[list[Part]]":
        """Return the requests that carry all of it out: a list for each `place` of a key, to be sent in its
        order, so that operations on a key stay in order. Each sets its handles when it is answered. With
        `idempotency_key` there is one request, or a ValueError."""
        groups: dict[object, list[int]] = {}
        places = {key: place(key) for key in dict.fromkeys(self._keys)}
        for number, key in enumerate(self._keys):
            groups.setdefault("" if idempotency_key else places[key], []).append(number)
        made = [
            [
                self._part(numbers, idempotency_key or new_idempotency_key())
                for numbers in self._divided(group)
            ]
            for group in groups.values()
        ]
        if idempotency_key and sum(map(len, made)) > 1:
            raise ValueError("a batch of more than one request cannot have one idempotency_key")
        return made

    def _divided(self, numbers: list[int]) -> list[list[int]]:
        parts: list[list[int]] = []
        size = 0
        for number in numbers:
            each = len(_JSON.encode(self._operations[number])) + 2
            if not parts or len(parts[-1]) >= MOST or size + each > MOST_BYTES:
                parts.append([])
                size = 0
            parts[-1].append(number)
            size += each
        return parts

    def _part(self, numbers: list[int], idempotency_key: str) -> "Part":
        body = _JSON.encode({"operations": [self._operations[number] for number in numbers]})
        handles = [self._handles[number] for number in numbers]

        def read(response: Response) -> None:
            if response.status != 200:
                refuse(response)
            answer = _ANSWER.decode(response.body)
            for handle, member in zip(handles, answer.results, strict=True):
                handle.set(member, idempotency_key)

        request = Request(
            "POST", "/v1/batch", [], body, {}, self._keys[numbers[0]], idempotency_key, name="batch",
            operations=len(numbers),
        )  # fmt: skip
        return Part(Call(request, read), handles)


class Part:
    """One request of a batch, and where its results will be."""

    def __init__(self, call: Call[None], handles: list[Handle[Any]]) -> None:
        self.call = call
        self.handles = handles
        self._is_wrong = False

    @property
    def unfinished(self) -> bool:
        """Whether sending it (again) may carry out some of it."""
        return not self._is_wrong and any(handle.status in AGAIN for handle in self.handles)

    def fail(self, error: StoreError) -> None:
        """It failed as a whole."""
        self._is_wrong = isinstance(error, Invalid)
        for handle in self.handles:
            handle.fail(error)


def _was_there(_: bytes, member: Member) -> bool:
    return member.status != 404


class AtomicSteps(Steps[T]):
    """Operations of one tag: all of them are carried out, or none."""

    def __init__(self, codec: Codec[T], tag: Key, on_error: str = "undo") -> None:
        super().__init__(codec)
        text = key_of(tag)
        self._tag = text if text.startswith(b"{") and text.endswith(b"}") else b"{%b}" % text
        self._slot = slot_of(self._tag)
        self._conditions: list[dict[str, Any]] = []
        self._goes_on = on_error == "continue"
        self.version = 0
        """Of all keys that changed, once it is carried out; 0 if none did."""

    def require(
        self, key: Key, *, if_version: int | None = None, if_absent: bool = False, if_present: bool = False
    ) -> None:
        """Carry nothing out unless this holds, also of a key that is not written."""
        name = key_of(key)
        self._check(name)
        condition = condition_of(if_version, if_absent, if_present)
        if not condition:
            raise ValueError("what is required? if_version, if_absent or if_present")
        self._conditions.append({**named("key", name), **condition})

    def _check(self, key: bytes) -> None:
        if slot_of(key) != self._slot:
            tag = self._tag.decode(errors="backslashreplace")
            raise ValueError(f"{key!r} does not contain {tag}: a transaction has keys of one tag")

    def call(self, idempotency_key: str) -> Call[None]:
        """Return the request."""
        said: dict[str, Any] = {"atomic": True, "operations": self._operations}
        if self._conditions:
            said["conditions"] = self._conditions
        if self._goes_on:
            said["on_error"] = "continue"

        def read(response: Response) -> None:
            if response.status == 412:
                undone = _UNDONE.decode(response.body)
                version = undone.failed[0].version if undone.failed else None
                raise Conflict(undone.detail, version=version)
            if response.status != 200:
                refuse(response)
            answer = _ANSWER.decode(response.body)
            self.version = answer.version
            for handle, member in zip(self._handles, answer.results, strict=True):
                handle.set(member, idempotency_key)

        request = Request(
            "POST", "/v1/batch", [], _JSON.encode(said), {}, self._tag, idempotency_key, name="transaction",
            operations=len(self._operations),
        )  # fmt: skip
        return Call(request, read)
