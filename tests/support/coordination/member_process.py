"""A process that registers in ZooKeeper, for tests that kill it.

Arguments: hosts, cluster, session in milliseconds. Each line in is a member to announce, as JSON.
"""

import asyncio
import sys
import threading
from typing import Any

import msgspec

from ringkeep.coordination.zookeeper import ZooKeeperCoordination
from ringkeep.core.protocol.cluster_map import Member


class _Deaf:
    """A sink that takes no interest."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


async def main(hosts: str, cluster: str, session_ms: str) -> None:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    port = ZooKeeperCoordination(hosts, cluster, loop, _Deaf(), int(session_ms))
    port.start()

    def read() -> None:
        for line in sys.stdin:
            loop.call_soon_threadsafe(port.announce, msgspec.json.decode(line, type=Member))
        loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=read, daemon=True).start()
    await ended.wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
