"""Which clients are compared, and where each comes from."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Kind:
    """One row of the comparison.

    `system`: as in bench/systems. `library`: the module `with_LIBRARY` of this package. `caller`: the class
    there. `tasks`: so many calls are under way at a time.
    """

    name: str
    system: str
    library: str
    caller: str
    tasks: int = 1


KINDS: Final = (
    Kind("plain HTTP, one node", "ringkeep", "sockets", "OneNode"),
    Kind("plain HTTP, each key's primary", "ringkeep", "sockets", "Primaries"),
    Kind("Client", "ringkeep", "ringkeep", "Blocking"),
    Kind("AsyncClient, 1 task", "ringkeep", "ringkeep", "Asynchronous"),
    Kind("AsyncClient, 64 tasks", "ringkeep", "ringkeep", "Asynchronous", 64),
    Kind("etcd3", "etcd", "etcd3", "Blocking"),
    Kind("aetcd, 1 task", "etcd", "aetcd", "Asynchronous"),
    Kind("aetcd, 64 tasks", "etcd", "aetcd", "Asynchronous", 64),
    Kind("redis-py", "redis", "redis", "Blocking"),
)
BY_NAME: Final = {kind.name: kind for kind in KINDS}
PLAIN: Final = "plain HTTP, each key's primary"
UNLED: Final = "plain HTTP, one node"

# What each library is, as its own process reads it from what is installed there.
DISTRIBUTIONS: Final[dict[str, tuple[str, ...]]] = {
    "sockets": (),
    "ringkeep": ("ringkeep", "urllib3", "aiohttp"),
    "etcd3": ("etcd3", "grpcio", "protobuf"),
    "aetcd": ("aetcd", "grpcio", "protobuf"),
    "redis": ("redis",),
}
