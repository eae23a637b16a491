"""Which replicas went where, seen from outside: one node's partitions, looked at again and again."""

import threading
from types import TracebackType
from typing import Any, NamedTuple

from tests.support.cluster.cluster import Cluster
from tests.support.cluster.steering import replicas

LOOK_S = 0.05  # a learner stays one for at least the half second between two writes of the map


class Transfer(NamedTuple):
    """A replica that was given to a node. `partition`, and who got it."""

    partition: int
    to: str


class Transfers:
    """Looks on from before until after; then `begun` and `done` say what went where. Use as a context."""

    def __init__(self, cluster: Cluster, via: str) -> None:
        self._cluster, self._via = cluster, via
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._before: list[dict[str, Any]] = []
        self._after: list[dict[str, Any]] = []
        self.begun: set[Transfer] = set()
        self.looks = 0

    def __enter__(self) -> "Transfers":
        self._before = self._cluster.partitions(self._via)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(20)
        self._after = self._cluster.partitions(self._via)

    @property
    def done(self) -> set[Transfer]:
        """The replicas that are where they were not before."""
        pairs = zip(self._before, self._after, strict=True)
        return {
            Transfer(new["partition"], name) for old, new in pairs for name in replicas(new) - replicas(old)
        }

    @property
    def given_up(self) -> set[Transfer]:
        """The replicas that are no more where they were before; `to` is who had them."""
        pairs = zip(self._before, self._after, strict=True)
        return {
            Transfer(new["partition"], name) for old, new in pairs for name in replicas(old) - replicas(new)
        }

    def _look(self) -> None:
        held = {each["partition"]: replicas(each) for each in self._before}
        while not self._over.wait(LOOK_S):
            for each in self._cluster.partitions(self._via):
                number, now = each["partition"], replicas(each)
                self.begun |= {Transfer(number, name) for name in now - held[number]}
                held[number] = now
            self.looks += 1
