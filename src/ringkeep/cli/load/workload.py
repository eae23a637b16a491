"""What is asked of a cluster under load: which operations, of which keys, with which values."""

import random
import secrets
from array import array
from bisect import bisect_left
from collections.abc import Callable
from itertools import accumulate
from typing import Final, NamedTuple
from urllib.parse import quote_from_bytes

OPERATIONS: Final = ("get", "put", "delete", "batch")
ZIPF: Final = 0.99
"""The exponent of the Zipf distribution: as in YCSB."""


class Ask(NamedTuple):
    """One request. `path` is percent-encoded; `key`: whose primary it is for; `operations`: in it."""

    operation: str
    method: bytes
    path: bytes
    key: bytes
    body: bytes = b""
    operations: int = 1

    @property
    def is_write(self) -> bool:
        """Whether it may change something."""
        return self.operation != "get"


def mix_of(text: str) -> dict[str, float]:
    """Read "get=90,put=10". Raises ValueError."""
    found: dict[str, float] = {}
    for part in text.split(","):
        name, separator, weight = part.strip().partition("=")
        if name not in OPERATIONS or not separator or name in found:
            raise ValueError(f"'{part.strip()}': write it like get=90,put=10; known: {', '.join(OPERATIONS)}")
        try:
            found[name] = float(weight)
        except ValueError:
            raise ValueError(f"'{weight}' is no weight; write it like get=90,put=10") from None
        if not 0 <= found[name] < float("inf"):
            raise ValueError(f"'{weight}' is no weight")
    if not sum(found.values()):
        raise ValueError("some operation must have a weight above 0")
    return found


def sizes_of(text: str) -> list[int]:
    """Read "100" or "100,1000,10000": lengths of values, in bytes. Raises ValueError."""
    try:
        found = [int(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"'{text}': write lengths in bytes, like 100 or 100,1000") from None
    if not all(0 <= size <= 4 << 20 for size in found):
        raise ValueError("a value has 0 to 4194304 bytes")
    return found


class Workload:
    """Draws requests. `keys`: how many there are, all behind `prefix`; `sizes`: of values, each as likely;
    `distribution`: "uniform", or "zipf": few keys are asked for most often."""

    def __init__(
        self,
        prefix: str,
        mix: dict[str, float],
        *,
        keys: int,
        sizes: list[int],
        distribution: str = "uniform",
        batch: int = 100,
        seed: int | None = None,
    ) -> None:
        self.prefix = prefix
        self.keys = keys
        self.sizes = sizes
        self._random = random.Random(seed)
        self._names = list(mix)
        self._weights = list(accumulate(mix.values()))
        self._batch = batch
        self._bytes = secrets.token_hex(max(sizes) + 1).encode()
        self._number = self._zipf() if distribution == "zipf" else self._uniform

    def key(self, number: int) -> bytes:
        """Return the name of a key."""
        return f"{self.prefix}{number:08d}".encode()

    def value(self) -> bytes:
        """Draw a value, of hexadecimal digits: a batch carries it as text."""
        size = self._random.choice(self.sizes)
        begin = self._random.randrange(len(self._bytes) - size)
        return self._bytes[begin : begin + size]

    def ask(self) -> Ask:
        """Draw a request."""
        [name] = self._random.choices(self._names, cum_weights=self._weights)
        key = self.key(self._number())
        path = b"/v1/kv/" + quote_from_bytes(key, safe="").encode()
        match name:
            case "get":
                return Ask(name, b"GET", path, key)
            case "put":
                return Ask(name, b"PUT", path, key, self.value())
            case "delete":
                return Ask(name, b"DELETE", path, key)
        puts = [
            b'{"op":"put","key":"%b","value":"%b"}' % (self.key(self._number()), self.value())
            for _ in range(self._batch)
        ]
        return Ask(name, b"POST", b"/v1/batch", key, b'{"operations":[%b]}' % b",".join(puts), self._batch)

    def _uniform(self) -> int:
        return self._random.randrange(self.keys)

    def _zipf(self) -> Callable[[], int]:
        """Return what draws numbers of keys: the n-th most popular one with a probability like 1/n**ZIPF."""
        sums = array("d", accumulate(1 / rank**ZIPF for rank in range(1, self.keys + 1)))
        order = list(range(self.keys))
        self._random.shuffle(order)  # else the popular keys would be neighbours in a listing

        def draw() -> int:
            rank = bisect_left(sums, self._random.random() * sums[-1])
            return order[min(rank, self.keys - 1)]

        return draw
