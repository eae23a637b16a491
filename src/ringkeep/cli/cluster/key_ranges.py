"""Ranges of keys as the commands name them: what is sent to a node, and how keys look in a terminal."""

import os
import shlex
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote_from_bytes

from ringkeep.cli.terminal.failure import Failure
from ringkeep.core.protocol.limits import KEY_BYTES
from ringkeep.exit_codes import USAGE

PATH: Final = "/v1/kv"
_ESCAPES: Final = {"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


@dataclass(frozen=True, slots=True)
class KeyRange:
    """Keys with a prefix, after one key, before another; None: no such bound."""

    prefix: bytes = b""
    after: bytes | None = None
    before: bytes | None = None

    def target(self, **parameters: str) -> str:
        """Return the path with the query. Other parameters go as they are."""
        bounds = {"prefix": self.prefix or None, "after": self.after, "before": self.before}
        pairs = [
            f"{name}={quote_from_bytes(raw, safe='')}" for name, raw in bounds.items() if raw is not None
        ]
        pairs += [f"{name}={value}" for name, value in parameters.items()]
        return PATH + (f"?{'&'.join(pairs)}" if pairs else "")


def key_range(prefix: str | None, after: str | None, before: str | None) -> KeyRange:
    """Return what was typed, byte for byte. Raises Failure for what can bound no keys."""
    if before == "":
        raise Failure("--before: no key comes before the empty one", USAGE)
    start = _bound("PREFIX", prefix)
    return KeyRange(start or b"", _bound("--after", after), _bound("--before", before))


def _bound(name: str, text: str | None) -> bytes | None:
    raw = None if text is None else os.fsencode(text)
    if raw is not None and len(raw) > KEY_BYTES:
        raise Failure(f"{name}: a key has at most {KEY_BYTES} bytes, this has {len(raw)}", USAGE)
    return raw


def readable(raw: bytes, ascii_only: bool = False) -> str:
    r"""Return bytes as one line of text, with escapes like `\xNN` for what cannot be shown."""
    text = raw.decode("utf-8", "surrogateescape")
    if text.isprintable() and "\\" not in text and (not ascii_only or text.isascii()):
        return text
    return "".join(_escaped(each, ascii_only) for each in text)


def _escaped(character: str, ascii_only: bool) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character.isprintable() and (not ascii_only or character.isascii()):
        return character
    raw = character.encode("utf-8", "surrogateescape")
    return "".join(f"\\x{byte:02x}" for byte in raw)


def go_on_after(key: bytes) -> str:
    """Return the option that makes a command go on after a key, as a shell takes it.

    A key with a zero byte is no argument of any command; HTTP takes it.
    """
    if b"\0" in key:
        return f"after={quote_from_bytes(key, safe='')} over HTTP ({PATH})"
    shown = readable(key)
    if shown == key.decode("utf-8", "replace"):
        return f"--after={shlex.quote(shown)}"
    return "--after=$'" + shown.replace("'", "\\'") + "'"
