"""Reads and writes the znode that holds one cluster's map, for `recover map` only.

Nodes use `coordination.zookeeper`, which only ever writes the successor of the stored map.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from kazoo.exceptions import BadVersionError, KazooException, NoNodeError
from kazoo.handlers.threading import KazooTimeoutError

from ringkeep.cli.terminal.failure import Failure
from ringkeep.coordination.attempts import Attempts
from ringkeep.coordination.link import end, new_client, split_path
from ringkeep.coordination.view import NO_MAP
from ringkeep.core.protocol.cluster_map import ClusterMap
from ringkeep.exit_codes import UNAVAILABLE
from ringkeep.recovery import decode_map
from ringkeep.settings import SESSION_MS
from ringkeep.wire import mapcodec

CONNECT_S: Final = 10.0


@contextmanager
def opened(hosts: str, cluster: str) -> Iterator["MapRegister"]:
    """Connect to ZooKeeper for a while. Raises Failure (4) if it does not answer, ConfigurationError."""
    servers, path = split_path(hosts)
    attempts = Attempts()
    client = new_client(servers, SESSION_MS, attempts)
    try:
        try:
            client.start(CONNECT_S)
        except KazooTimeoutError:
            because = f" ({attempts.cause})" if attempts.cause else ""
            raise Failure(
                f"ZooKeeper at {hosts} does not answer{because}; check --zookeeper", UNAVAILABLE
            ) from None
        yield MapRegister(client, hosts, f"{path}/ringkeep/{cluster}")
    finally:
        end(client)


class MapRegister:
    """One cluster's map znode, and the barrier znode."""

    def __init__(self, client: Any, hosts: str, base: str) -> None:
        self._client = client
        self._hosts = hosts
        self._base = base
        self._map = f"{self._base}/map"
        self._barrier = f"{self._base}/barrier"

    def read(self) -> tuple[ClusterMap | None, int]:
        """Return the stored map (None: there is none), and the znode's version.

        Raises Failure (4), and CannotRecover for content that is not a map.
        """
        try:
            self._client.sync(self._base)
            content, stat = self._client.get(self._map)
        except NoNodeError:
            return None, NO_MAP
        except KazooException as error:
            raise self._lost(error, "nothing was written") from error
        return decode_map(content, f"ZooKeeper at {self._hosts}"), stat.version

    def write(self, cluster_map: ClusterMap, expected: int) -> None:
        """Replace the znode of version `expected` by this map; creating it also removes the barrier.

        Raises Failure: 1 if the znode was changed meanwhile, and 4 if the connection to ZooKeeper was lost.
        """
        payload = mapcodec.encode(cluster_map)
        try:
            written = self._create(payload) if expected == NO_MAP else self._replace(payload, expected)
        except KazooException as error:
            again = (
                "it is unknown whether the map was written; repeat the command, which reports it if it was"
            )
            raise self._lost(error, again) from error
        if not written:
            raise Failure(
                "ZooKeeper's map was changed meanwhile, nothing was written; check it, and repeat the command"
            )

    def _create(self, payload: bytes) -> bool:
        self._client.ensure_path(self._base)
        change = self._client.transaction()
        change.create(self._map, payload)
        if self._client.exists(self._barrier) is not None:
            change.delete(self._barrier)
        return not any(isinstance(result, Exception) for result in change.commit())

    def _replace(self, payload: bytes, expected: int) -> bool:
        try:
            self._client.set(self._map, payload, expected)
        except (BadVersionError, NoNodeError):
            return False
        return True

    def _lost(self, error: KazooException, what: str) -> Failure:
        problem = f"the connection to ZooKeeper at {self._hosts} was lost ({type(error).__name__})"
        return Failure(f"{problem}; {what}", UNAVAILABLE)
