"""How a node is coordinated: by ZooKeeper, or within its own process if it is alone.

Each is imported only where it is used: a node that is alone needs no ZooKeeper client.
"""

import asyncio
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ringkeep.core.protocol.cluster_map import ClusterMap
from ringkeep.errors import ConfigurationError, ProtocolError, of_directory
from ringkeep.ports import CoordinationEvents
from ringkeep.settings import NodeSettings
from ringkeep.storage import files
from ringkeep.wire import mapcodec

if TYPE_CHECKING:
    from ringkeep.coordination.embedded import EmbeddedCoordination
    from ringkeep.coordination.zookeeper import ZooKeeperCoordination


def coordinated(
    settings: NodeSettings,
    loop: asyncio.AbstractEventLoop,
    sink: CoordinationEvents,
    held: ClusterMap | None,
) -> "ZooKeeperCoordination | EmbeddedCoordination":
    """Return the coordination of a node whose store holds the map `held`; it is not started.

    Raises ConfigurationError and StorageError for a directory whose coordination does not fit its store.
    """
    if settings.alone:
        return _embedded(settings.data, loop, sink, held)
    from ringkeep.coordination.zookeeper import ZooKeeperCoordination

    return ZooKeeperCoordination(
        settings.zookeeper, settings.cluster, loop, sink, settings.zookeeper_session_ms
    )


def _embedded(
    directory: Path, loop: asyncio.AbstractEventLoop, sink: CoordinationEvents, held: ClusterMap | None
) -> "EmbeddedCoordination":
    from ringkeep.coordination.embedded import EmbeddedCoordination, EmbeddedService

    path = directory / files.COORDINATION
    try:
        kept = path.read_bytes() if path.exists() else None
    except OSError as error:
        raise of_directory(directory, error) from error
    try:
        service = EmbeddedService(kept, partial(files.write_atomically, path), loop)
        kept_map = mapcodec.decode(service.map) if service.map is not None else None
    except (ConfigurationError, ProtocolError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}. {_REMEDY}") from error
    if held is not None and (kept_map is None or kept_map.version < held.version):
        holds = f"map {kept_map.version}" if kept_map is not None else "no map"
        raise ConfigurationError(
            f"{path} holds {holds}, and the store beside it map {held.version}. {_REMEDY}"
        )
    return EmbeddedCoordination(service, sink)


_REMEDY = "It was changed, or comes from another copy: restore the whole directory from one copy"
