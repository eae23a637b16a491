"""How values become bytes. The store keeps bytes and a content type; a client reads and writes one type of
value, through a pair of functions.

Pickle is left out on purpose: whoever can write to the store could run code in every program that reads.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import msgspec

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Codec(Generic[T]):
    """`encode` makes the bytes of a value, `decode` a value of bytes and their content type; it raises
    ValueError for what it cannot read. `content_type` is stored with what is written."""

    encode: Callable[[T], bytes]
    decode: Callable[[bytes, str], T]
    content_type: str = ""


def _same(value: bytes) -> bytes:
    if not isinstance(value, (bytes, bytearray, memoryview)):
        raise TypeError(
            f"values are bytes, not {type(value).__name__}; or give the client a codec, such as TEXT or JSON"
        )
    return bytes(value)


RAW: Final[Codec[bytes]] = Codec(_same, lambda data, _: data)
"""Bytes as they are."""

TEXT: Final[Codec[str]] = Codec(str.encode, lambda data, _: data.decode(), "text/plain; charset=utf-8")
"""Text, as UTF-8."""


def json_of(type_: type[T]) -> Codec[T]:
    """Return a codec that stores values of a type that msgspec knows (structs, dataclasses, built-in types)
    as JSON, and checks what it reads against that type."""
    return _msgspec(msgspec.json.Encoder(), msgspec.json.Decoder(type_), "application/json")


def msgpack_of(type_: type[T]) -> Codec[T]:
    """Return a codec like that of `json_of`, but for MessagePack."""
    return _msgspec(msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder(type_), "application/msgpack")


def _msgspec(encoder: Any, decoder: Any, content_type: str) -> Codec[Any]:
    def decode(data: bytes, _: str) -> Any:
        return decoder.decode(data)  # a msgspec.DecodeError or ValidationError is a ValueError

    return Codec(encoder.encode, decode, content_type)


JSON: Final[Codec[Any]] = _msgspec(msgspec.json.Encoder(), msgspec.json.Decoder(), "application/json")
MSGPACK: Final[Codec[Any]] = _msgspec(
    msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder(), "application/msgpack"
)
"""What JSON, or MessagePack, can say: None, numbers, texts, lists, mappings; MessagePack also bytes."""
