"""What calls return. Versions are positive integers that only grow, also when a key is deleted and created
again; a `ttl` is in seconds from the answer on, None for ever."""

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Record(Generic[T]):
    """A key as it was read."""

    key: bytes
    value: T
    version: int
    ttl: float | None = None
    content_type: str = ""


@dataclass(frozen=True, slots=True)
class Written:
    """A write that was applied. `created`: the key did not exist before."""

    key: bytes
    version: int
    created: bool = False


@dataclass(frozen=True, slots=True)
class Counted:
    """The number that a key holds after `add`."""

    key: bytes
    value: int
    version: int
    created: bool = False


@dataclass(frozen=True, slots=True)
class Appended:
    """A value to which something was appended. `length`: its bytes now."""

    key: bytes
    length: int
    version: int
    created: bool = False


@dataclass(frozen=True, slots=True)
class Swapped(Generic[T]):
    """A key that has a new value. `old`: the value before, None if there was none."""

    key: bytes
    old: T | None
    version: int
    created: bool = False


@dataclass(frozen=True, slots=True)
class Item(Generic[T]):
    """A key of a listing. `value`: None where values were not asked for."""

    key: bytes
    version: int
    value: T | None = None
    ttl: float | None = None
    content_type: str = ""
