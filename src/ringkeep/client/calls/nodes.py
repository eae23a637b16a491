"""Which node is asked: the primary of a key as far as it is known, else any that is not known to be down.

Learned from one endpoint, and from every answer since: each says who decided. Nothing here is needed for a
right answer, as any node takes any request; it saves a forward.
"""

import random
import threading
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

import msgspec

from ringkeep.client.calls.exchange import Response
from ringkeep.client.observing import LOG
from ringkeep.core.cluster.slots import partition_of

LEARN_EVERY_S: Final = 5.0
"""So often at most the map is asked for; after a failure half as often each time, down to LEARN_SELDOM_S."""
LEARN_SELDOM_S: Final = 300.0
FIRST_REST_S: Final = 0.1
LONGEST_REST_S: Final = 5.0
"""For so long an endpoint that failed is asked last."""


class _Member(msgspec.Struct):
    name: str
    http: str


class _Cluster(msgspec.Struct):
    members: list[_Member]


class _Partition(msgspec.Struct):
    partition: int
    primary: str | None = None


class _Partitions(msgspec.Struct):
    partitions: list[_Partition]


_CLUSTER: Final = msgspec.json.Decoder(_Cluster)
_PARTITIONS: Final = msgspec.json.Decoder(_Partitions)


def _is_address(text: str) -> bool:
    try:
        url = urlsplit(f"http://{text}")
        return bool(url.hostname and url.port and url.netloc == text)
    except ValueError:  # no such port
        return False


@dataclass(slots=True)
class _State:
    """An endpoint's last failures in a row, and until when it rests after them."""

    failures: int = 0
    rests_until: float = 0.0
    worked: bool = False


@dataclass(slots=True)
class Nodes:
    """The endpoints that were given, and the nodes that were learned. Safe for threads: each change is one
    assignment or is made under the lock.

    `given`: "http://host:port" of each. `follows`: whether nodes are learned, and primaries asked directly.
    """

    given: list[str]
    follows: bool = True
    _addresses: dict[str, str] = field(default_factory=dict)  # of nodes, by name
    _primaries: list[str] = field(default_factory=list)  # names, by partition
    _states: dict[str, _State] = field(default_factory=dict)
    _learn_at: float = 0.0
    _learn_pause_s: float = LEARN_EVERY_S
    _doubted: bool = True
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def candidates(self, key: bytes | None, now: float) -> list[str]:
        """Return the endpoints to try, the best first; those that have just failed last."""
        learned = [each for each in self._addresses.values() if each not in self.given]
        everyone = self.given + learned if self._reachable else list(self.given)
        random.shuffle(everyone)
        everyone.sort(key=lambda each: max(self._rest(each) - now, 0.0))
        primary = self._primary(key)
        if primary in everyone and self._rest(primary) <= now:
            everyone.remove(primary)
            everyone.insert(0, primary)
        return everyone

    @property
    def _reachable(self) -> bool:
        """Whether the learned addresses are of use: behind a proxy, none may be reachable from here."""
        states = [self._states.get(each) for each in self._addresses.values()]
        tried = [state for state in states if state is not None and (state.worked or state.failures)]
        return not tried or any(state.worked for state in tried)

    def _primary(self, key: bytes | None) -> str:
        if key is None or not self._primaries:
            return ""
        return self._addresses.get(self._primaries[partition_of(key, len(self._primaries))], "")

    def place(self, key: bytes) -> object:
        """Return what tells keys of one node from those of others: requests of many keys are divided so."""
        return self._primary(key) if self._reachable else ""

    def _rest(self, endpoint: str) -> float:
        state = self._states.get(endpoint)
        return state.rests_until if state is not None else 0.0

    def connects(self, endpoint: str) -> bool:
        """Return whether this endpoint has worked, or was given: then it is worth a longer wait."""
        state = self._states.get(endpoint)
        return endpoint in self.given or (state is not None and state.worked)

    # --- what happened to it --------------------------------------------------------------------------

    def failed(self, endpoint: str, now: float) -> None:
        """It does not answer: others are asked first for a while."""
        with self._lock:
            state = self._states.setdefault(endpoint, _State())
            state.failures += 1
            rest = min(FIRST_REST_S * 2 ** min(state.failures - 1, 10), LONGEST_REST_S)
            state.rests_until = now + rest * random.uniform(0.5, 1.0)
            self._doubted = True
        if state.failures == 1:
            LOG.info("%s does not answer; others are asked first", endpoint)

    def answered(self, endpoint: str, key: bytes | None, response: Response) -> None:
        """It answers; and says who the key's primary is."""
        state = self._states.get(endpoint)
        if state is None or state.failures or not state.worked:
            with self._lock:
                self._states[endpoint] = _State(worked=True)
            if state is not None and state.failures:
                LOG.info("%s answers again", endpoint)
        primary = response.headers.get("ringkeep-primary", "")
        if key is None or not primary or not self._primaries:
            return
        at = partition_of(key, len(self._primaries))
        if self._primaries[at] != primary:
            LOG.info(
                "the primary of partition %d is %s, no longer %s", at, primary, self._primaries[at] or "-"
            )
            self._primaries[at] = primary
            self._doubted = self._doubted or primary not in self._addresses

    # --- the map --------------------------------------------------------------------------------------

    def learns(self, now: float) -> bool:
        """Return whether the map is to be asked for now, by whoever asks this."""
        if not self.follows or not self._doubted or now < self._learn_at:
            return False
        with self._lock:
            if now < self._learn_at:
                return False
            self._learn_at = now + self._learn_pause_s
            self._learn_pause_s = min(2 * self._learn_pause_s, LEARN_SELDOM_S)
        return True

    def learned(self, cluster: bytes, partitions: bytes) -> None:
        """Take the answers of /v1/cluster and /v1/cluster/partitions. What is no such answer is ignored: a
        proxy may not pass them on."""
        try:
            members = _CLUSTER.decode(cluster).members
            found = sorted(_PARTITIONS.decode(partitions).partitions, key=lambda each: each.partition)
        except ValueError:  # msgspec's errors are some
            return
        if [each.partition for each in found] != list(range(len(found))) or not found:
            return
        with self._lock:
            self._addresses = {each.name: f"http://{each.http}" for each in members if _is_address(each.http)}
            self._primaries = [each.primary or "" for each in found]
            self._doubted = False
            self._learn_pause_s = LEARN_EVERY_S
