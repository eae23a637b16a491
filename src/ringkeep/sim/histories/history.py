"""What clients saw: one operation of one client, and histories of them as JSON lines.

docs/histories.md describes the format for people. This module knows nothing of the cluster, and does not
judge: it refuses answers that no client can receive; `checker` finds operations that contradict each other.
"""

import base64
import binascii
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

import msgspec

from ringkeep.core.protocol.client_requests import PRESENT

NEVER: Final = 1 << 62  # later than any time, and above any version
UNTOLD: Final = -1
SHORT: Final = 20  # letters or bytes of a value that are shown
OUTCOMES: Final = {
    "get": frozenset({"ok", "failed", "rejected", "unknown"}),
    "put": frozenset({"ok", "rejected", "unknown"}),
    "delete": frozenset({"ok", "failed", "rejected", "unknown"}),
    "cas": frozenset({"ok", "failed", "rejected", "unknown"}),
}


@dataclass(slots=True, eq=False)
class Operation:
    """One call of one client, and its answer.

    `value`: what a put or a cas writes. `expected`: the condition of a cas (or of a delete): a version,
    0 = must be absent, PRESENT = must exist. `start`, `end`: on one clock; `end` None: never answered.
    `outcome`: "ok"; "failed" (definite, and an observation: no such key, or the condition does not hold);
    "rejected" (definitely not applied, nothing observed); "unknown".
    `version`: of an ok write or read, 0 = not told; the present one after a failed condition, 0 = absent,
    UNTOLD = not told. `read`: the value that an ok get returned. `line`: of the file it came from, 0: none.
    """

    client: int
    kind: str
    key: bytes
    value: bytes | None
    expected: int | None
    start: int
    end: int | None
    outcome: str
    version: int = 0
    read: bytes | None = None
    line: int = 0

    @property
    def writes(self) -> bool:
        """Whether it changed the key, or may have."""
        return self.kind != "get" and self.outcome in ("ok", "unknown")

    def __str__(self) -> str:
        return f"client {self.client}: {self.call()} -> {self.answer()}"

    def call(self) -> str:
        """Return what was asked, for people."""
        text = self.kind if self.value is None else f"{self.kind} {short(self.value)}"
        if self.expected is None:
            return text
        if self.expected <= 0:
            return f"{text} if {'present' if self.expected == PRESENT else 'absent'}"
        return f"{text} if version {self.expected}"

    def answer(self) -> str:
        """Return what was answered, for people."""
        if self.kind == "get" and self.outcome in ("ok", "failed"):
            text = "absent" if self.read is None else short(self.read)
        else:
            text = self.outcome
        if self.version > 0:
            return f"{text}, version {self.version}"
        return f"{text}, absent" if text == "failed" and self.version == 0 else text


def short(value: bytes) -> str:
    """Return bytes as people can read them: text in quotes where it is text, cut where it is long."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return repr(value) if len(value) <= SHORT else f"{value[:SHORT]!r}…"
    shown = json.dumps(text[:SHORT], ensure_ascii=not text[:SHORT].isprintable())
    return shown if len(text) <= SHORT else f"{shown}…"


# --- JSON lines --------------------------------------------------------------------------------------


class Malformed(Exception):
    """A line that is not an operation. The text names file and line, and says what is wrong."""


_Time = Annotated[int, msgspec.Meta(ge=0, lt=NEVER)]
_Version = Annotated[int, msgspec.Meta(ge=0, lt=NEVER)]
_Expected = Annotated[int, msgspec.Meta(ge=1, lt=NEVER)] | Literal["present", "absent"]


class _Record(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    client: int
    kind: Literal["get", "put", "delete", "cas"]
    key: str | None = None
    key_base64: str | None = None
    value: str | None = None
    value_base64: str | None = None
    expected: _Expected | None = None
    start: _Time
    end: _Time | None
    outcome: Literal["ok", "failed", "rejected", "unknown"]
    version: _Version | None = None
    read: str | None = None
    read_base64: str | None = None


def read_history(lines: Iterable[bytes], name: str) -> Iterator[Operation]:
    """Yield the operations of a file, in its order. Raises `Malformed`. `name`: of the file, for errors."""
    decoder = msgspec.json.Decoder(_Record)
    for number, line in enumerate(lines, 1):
        if line.isspace():
            continue
        try:
            operation = _operation(decoder.decode(line))
        except ValueError as error:  # msgspec's, and those raised below
            raise Malformed(f"{name}:{number}: {_plain(error)}") from None
        operation.line = number
        yield operation


def write_history(history: Iterable[Operation]) -> Iterator[bytes]:
    """Yield one line per operation."""
    for operation in history:
        yield msgspec.json.encode(as_object(operation)) + b"\n"


def _plain(error: ValueError) -> str:
    """Say it without the words of the library: "start: expected `int`, got `str`"."""
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8 (use the fields that end in _base64 for other bytes)"
    text = str(error)
    if isinstance(error, msgspec.ValidationError):
        text, _, path = text.partition(" - at `$.")
        text = text.replace("Object contains unknown", "unknown").replace(
            "Object missing required", "missing"
        )
        text = text[0].lower() + text[1:]
        return f"{path.rstrip('`')}: {text}" if path else text
    if isinstance(error, msgspec.DecodeError):
        return f"not JSON: {text.removeprefix('JSON is malformed: ').replace('Input data was', 'it is')}"
    return text


def _operation(line: _Record) -> Operation:
    """Build an operation; raises ValueError where the fields contradict each other."""
    key = _bytes(line.key, line.key_base64, "key")
    value = _bytes(line.value, line.value_base64, "value")
    read = _bytes(line.read, line.read_base64, "read")
    if key is None:
        raise ValueError("missing field `key`")
    _check_call(line, value)
    _check_answer(line, read)
    words = {"absent": 0, "present": PRESENT}
    expected = words[line.expected] if isinstance(line.expected, str) else line.expected
    version = line.version
    if version is None:
        version = UNTOLD if line.outcome == "failed" and expected is not None else 0
    return Operation(
        line.client, line.kind, key, value, expected, line.start, line.end, line.outcome, version, read
    )


def _check_call(line: _Record, value: bytes | None) -> None:
    kind = line.kind
    if (value is None) == (kind in ("put", "cas")):
        raise ValueError(
            f"a {kind} has no `value`" if value is not None else f"missing field `value` of a {kind}"
        )
    if kind == "cas" and line.expected is None:
        raise ValueError("missing field `expected` of a cas")
    if kind in ("get", "put") and line.expected is not None:
        raise ValueError(f"a {kind} has no `expected`" + (": with a condition it is a cas" * (kind == "put")))


def _check_answer(line: _Record, read: bytes | None) -> None:
    kind, outcome, version = line.kind, line.outcome, line.version
    if outcome not in OUTCOMES[kind]:
        raise ValueError(f"a {kind} cannot end as {outcome}")
    if line.end is None and outcome != "unknown":
        raise ValueError(f"`end` is null, but it was answered: {outcome}")
    if line.end is not None and line.end < line.start:
        raise ValueError(f"`end` {line.end} is before `start` {line.start}")
    if (read is not None) != (kind == "get" and outcome == "ok"):
        raise ValueError("missing field `read` of an ok get" if read is None else "only an ok get has `read`")
    if kind == "delete" and outcome == "ok" and line.expected == "absent":
        raise ValueError("a delete of what is absent is not ok")
    if version is None:
        return
    if outcome in ("rejected", "unknown"):
        raise ValueError(f"an operation that ended as {outcome} was told no `version`")
    if outcome == "ok" and version == 0:
        raise ValueError("`version` 0 of an ok operation (versions count from 1; leave it out if not told)")
    if outcome == "failed" and line.expected is None and version > 0:
        raise ValueError(f"a {kind} without a condition that failed found nothing, so no `version` {version}")


def _bytes(text: str | None, encoded: str | None, name: str) -> bytes | None:
    if encoded is None:
        return None if text is None else text.encode()
    if text is not None:
        raise ValueError(f"both `{name}` and `{name}_base64`")
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"{name}_base64: not base64") from None


def fields(name: str, value: bytes | None) -> dict[str, str]:
    """Return bytes as the field that holds them: text if they are UTF-8."""
    if value is None:
        return {}
    try:
        return {name: value.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(value).decode()}


def as_object(operation: Operation) -> dict[str, Any]:
    """Return an operation as the object that its line holds."""
    each, expected = operation, operation.expected
    told = each.version > 0 or (each.outcome == "failed" and expected is not None and each.version != UNTOLD)
    told = told and each.outcome in ("ok", "failed")
    condition = "present" if expected == PRESENT else expected or "absent"
    return {
        "client": each.client,
        "kind": each.kind,
        **fields("key", each.key),
        **fields("value", each.value),
        **({} if expected is None else {"expected": condition}),
        "start": each.start,
        "end": each.end,
        "outcome": each.outcome,
        **({"version": each.version} if told else {}),
        **fields("read", each.read),
    }
