"""What a stream of changes says, and that each change is told once: without sockets, for both clients.

Streams begin anew after a break, at the last bookmark. What came after that bookmark is told again: so the
versions that were told since are remembered, until they have been told again.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Generic, Literal, TypeVar

import msgspec

from ringkeep.client.calls.exchange import Call, Request, Response
from ringkeep.client.calls.requests import Key, decoded, refuse
from ringkeep.client.codecs import Codec
from ringkeep.client.errors import HistoryLost, StoreError

T = TypeVar("T")

SILENCE_S: Final = 25.0
"""A stream that has said nothing for so long is dead: a bookmark comes at least every ten seconds."""
OPEN_S: Final = 10.0
_NDJSON: Final = "application/x-ndjson"
_UNTYPED: Final = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Change(Generic[T]):
    """A committed change of one key. `kind`: "touch" gave it another time to live; it still has its value.

    `value`: of a put, where values were asked for. `ttl`: seconds that it lived from then on, None for ever.
    """

    kind: Literal["put", "touch", "delete", "expire"]
    key: bytes
    version: int
    value: T | None = None
    ttl: float | None = None
    content_type: str = ""

    @property
    def exists(self) -> bool:
        """Whether the key exists after it."""
        return self.kind in ("put", "touch")


@dataclass(frozen=True, slots=True)
class Bookmark:
    """All up to here has been told, and all that was committed `age` seconds ago (None: not known)."""

    cursor: str
    age: float | None


class _Line(msgspec.Struct):
    event: str
    key: str | None = None
    key_base64: bytes | None = None
    version: int = 0
    value: str | None = None
    value_base64: bytes | None = None
    content_type: str = ""
    ttl: int | None = None
    cursor: str = ""
    age: int | None = None
    detail: str = ""


_LINE: Final = msgspec.json.Decoder(_Line)


class Feed(Generic[T]):
    """The changes of the keys with a prefix, over all streams. `cursor`: of the last bookmark."""

    def __init__(self, codec: Codec[T], prefix: Key, after: str, values: bool) -> None:
        self.cursor = after
        self._codec = codec
        self._prefix = prefix.encode() if isinstance(prefix, str) else bytes(prefix)
        self._values = values
        self._unread = b""
        self._told: dict[bytes, int] = {}  # since the last bookmark of this stream
        self._again: dict[bytes, int] = {}  # by earlier streams, and still to be told again

    def call(self) -> Call[Response]:
        """Begin the next stream, at the last bookmark."""
        for key, version in self._told.items():
            self._again[key] = max(version, self._again.get(key, 0))
        self._told.clear()
        self._unread = b""
        said: dict[str, object] = {"values": self._values, "after": self.cursor or "now"}
        try:
            said["prefix"] = self._prefix.decode()
        except UnicodeDecodeError:
            said["prefix_base64"] = self._prefix
        body = msgspec.json.encode(said)
        headers = {"Accept": _NDJSON, "Content-Type": "application/json"}
        return Call(
            Request("POST", "/v1/changes", [], body, headers, timed=False, streamed=True, name="watch"),
            self._begun,
        )

    def _begun(self, response: Response) -> Response:
        if response.status != 200 or response.stream is None:
            refuse(response)
        return response

    def take(self, data: bytes) -> Iterator[Change[T] | Bookmark | StoreError]:
        """Take some bytes of the stream; yield what is new in them. What is to be raised comes in its place:
        HistoryLost, and Invalid for a value that the codec does not read. Raises ValueError for bytes that no
        node sends: then the stream is of no use any more."""
        *lines, self._unread = (self._unread + data).split(b"\n")
        for line in lines:
            if line:
                try:
                    found = self._understood(_LINE.decode(line))
                except StoreError as error:
                    found = error
                if found is not None:
                    yield found

    def _understood(self, line: _Line) -> Change[T] | Bookmark | StoreError | None:
        match line.event:
            case "bookmark":
                if line.cursor != self.cursor:
                    self.cursor = line.cursor
                    self._told.clear()
                return Bookmark(line.cursor, line.age / 1_000 if line.age is not None else None)
            case "gone":
                raise HistoryLost(line.detail or "what follows the cursor is not kept any more", status=410)
            case "put" | "touch" | "delete" | "expire":
                return self._changed(line, line.event)
        return None  # what a newer node may say

    def _changed(self, line: _Line, kind: Literal["put", "touch", "delete", "expire"]) -> Change[T] | None:
        key = line.key.encode() if line.key is not None else line.key_base64 or b""
        known = self._again.get(key, 0)
        if line.version >= known:
            self._again.pop(key, None)
        if line.version <= known:
            return None
        self._told[key] = line.version
        value: T | None = None
        if kind == "put" and self._values:
            data = line.value.encode() if line.value is not None else line.value_base64 or b""
            value = decoded(self._codec, data, line.content_type or _UNTYPED, key)
        ttl = line.ttl / 1_000 if line.ttl else None
        return Change(kind, key, line.version, value, ttl, line.content_type)
