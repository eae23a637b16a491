"""The Python client of Ringkeep: `Client`, which blocks, and `AsyncClient`, with the same names.

from ringkeep.client import Client

with Client(["http://127.0.0.1:8000", "http://127.0.0.1:8010"]) as store:
    version = store.put("hello", b"world").version
    store.put("hello", b"there", if_version=version)
"""

from ringkeep.client.asynchronous.client import AsyncClient
from ringkeep.client.blocking.client import Client
from ringkeep.client.calls.feed import Bookmark, Change
from ringkeep.client.calls.holding import LockLost
from ringkeep.client.codecs import JSON, MSGPACK, RAW, TEXT, Codec, json_of, msgpack_of
from ringkeep.client.errors import (
    Busy,
    Conflict,
    HistoryLost,
    Indeterminate,
    Invalid,
    NotFound,
    Rejected,
    StoreError,
    Unavailable,
    Unreadable,
    WrongType,
)
from ringkeep.client.observing import Observation, Observer
from ringkeep.client.results import Appended, Counted, Item, Record, Swapped, Written

__all__ = [
    "JSON", "MSGPACK", "RAW", "TEXT", "Appended", "AsyncClient", "Bookmark", "Busy", "Change", "Client",
    "Codec", "Conflict", "Counted", "HistoryLost", "Indeterminate", "Invalid", "Item", "LockLost", "NotFound",
    "Observation", "Observer", "Record", "Rejected", "StoreError", "Swapped", "Unavailable", "Unreadable",
    "Written", "WrongType", "json_of", "msgpack_of",
]  # fmt: skip
