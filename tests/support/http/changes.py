"""A reader of a stream of changes, over one connection."""

import json
from collections.abc import Callable, Iterator
from typing import Any

from tests.support.http.wire import Wire

LINES = "application/x-ndjson"


class Changes:
    """`next` waits for what comes next, and fails after the connection's time. `cursor`: the last
    one told.
    """

    def __init__(
        self, wire: Wire, query: str = "", lines: bool = True, method: str = "GET",
        body: bytes | None = None, **fields: str,
    ) -> None:  # fmt: skip
        self.wire = wire
        self.cursor = ""
        if lines:
            fields["accept"] = LINES
        wire.send(wire.render(method, f"/v1/changes{query}", body, **fields))
        self.status, self.headers = wire.read_head()
        assert self.status == 200, self.status
        self._documents = self._lines() if lines else self._events()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return self._documents

    def next(self) -> dict[str, Any]:
        """Return the next document, a bookmark or an event."""
        return next(self._documents)

    def until(self, holds: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
        """Return the documents up to the first one for which it holds."""
        found = []
        for document in self._documents:
            found.append(document)
            if holds(document):
                return found
        raise AssertionError(f"the stream ended before; it told {found}")

    def events(self, count: int) -> list[dict[str, Any]]:
        """Return the next so many events, without bookmarks."""
        found: list[dict[str, Any]] = []
        while len(found) < count:
            document = self.next()
            found += [document] if document["event"] != "bookmark" else []
        return found

    def bookmark(self) -> dict[str, Any]:
        """Return the next bookmark; nothing else may come before it."""
        document = self.next()
        assert document["event"] == "bookmark", document
        return document

    def _lines(self) -> Iterator[dict[str, Any]]:
        for text in self._pieces(b"\n"):
            document = json.loads(text)
            self.cursor = document.get("cursor", self.cursor)
            yield document

    def _events(self) -> Iterator[dict[str, Any]]:
        for text in self._pieces(b"\n\n"):
            fields = dict(line.split(": ", 1) for line in text.decode().split("\n"))
            document = json.loads(fields["data"])
            assert fields["event"] == document["event"]
            assert ("id" in fields) == (fields["event"] == "bookmark"), "an id stands on bookmarks only"
            self.cursor = fields.get("id", self.cursor)
            yield document

    def _pieces(self, end: bytes) -> Iterator[bytes]:
        rest = b""
        for chunk in self.wire.chunks():
            *whole, rest = (rest + chunk).split(end)
            yield from whole
        assert not rest, f"the stream ends in the middle: {rest!r}"
