"""Reads every available copy of the cluster map: from running nodes, and from directories of stopped ones.

Only reads. A directory is locked meanwhile, so that no node starts on it; that of a running node is refused.
"""

import base64
import binascii
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from ringkeep.cli.cluster import http_client
from ringkeep.cli.cluster.responses import Json
from ringkeep.cli.terminal.failure import Failure
from ringkeep.core.protocol.effects import Family
from ringkeep.core.protocol.rows import MAP_KEY, promises_stored
from ringkeep.core.protocol.types import Epoch, NodeId, PartitionId
from ringkeep.errors import StorageError
from ringkeep.exit_codes import REFUSED
from ringkeep.recovery import CannotRecover, MapCopy, decode_map, newest_of, unread_of
from ringkeep.storage import files
from ringkeep.storage.identity import Identity, open_identity
from ringkeep.storage.rocks import open_engine

COPY: Final = "/v1/cluster/copy"


def gather(
    endpoints: Iterable[str], directories: Iterable[Path], timeout_ms: int
) -> tuple[list[MapCopy], list[str]]:
    """Return all copies, and for each node that returned none the reason.

    Asks the endpoints ("HOST:PORT"), then every node that the newest copy names and that was not read yet.
    Raises CannotRecover for contradicting copies, ConfigurationError and Failure for a directory.
    """
    copies = [from_directory(directory) for directory in directories]
    silent: list[str] = []
    asked: set[str] = set()
    waiting = list(endpoints) or _addresses(copies)
    while waiting:
        for endpoint in waiting:
            asked.add(endpoint)
            try:
                copies.append(from_node(endpoint, timeout_ms))
            except Failure as failure:
                silent.append(str(failure))
        waiting = [each for each in _addresses(copies) if each not in asked]  # a newer map may name others
    return copies, silent


def _addresses(copies: list[MapCopy]) -> list[str]:
    """Return the addresses of the nodes that the newest map names, and of which there is no copy."""
    if not any(copy.held is not None for copy in copies):
        return []
    held = newest_of(copies).held
    assert held is not None, "the newest copy has a map"
    return [node.http for node in unread_of(held, copies)]


def from_node(endpoint: str, timeout_ms: int) -> MapCopy:
    """Return the copy of a running node. Raises Failure if it does not answer, or not with a copy."""
    answer = http_client.send([endpoint], http_client.HttpRequest("GET", COPY, timeout_ms=timeout_ms))
    document: Json = http_client.object_of(answer)
    source = f"{document.get('name')} (http://{endpoint})"
    try:
        payload = document["map"]
        held = decode_map(base64.b64decode(payload, validate=True), source) if payload is not None else None
        promised = {PartitionId(int(p)): Epoch(int(epoch)) for p, epoch in document["promised"]}
        return MapCopy(NodeId(str(document["id"])), str(document["name"]), source, held, promised)
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        raise Failure(f"http://{endpoint}: the answer is not a copy of a cluster map ({error!r})") from None


def from_directory(directory: Path) -> MapCopy:
    """Return the copy in the directory of a node that is stopped.

    Raises ConfigurationError if a process uses it, CannotRecover or Failure (78) if it holds no node's data.
    """
    identity = _locked(directory)
    try:
        source = f"{identity.name} ({directory})"
        if not (directory / files.DATABASE).exists():
            return MapCopy(identity.node_id, identity.name, source, None, {}, whole=False)
        try:
            engine = open_engine(directory)
        except StorageError as error:
            raise CannotRecover(
                f"{source} cannot be read: {error}. Nothing was written; leave it out, and use other copies"
            ) from error
        try:
            payload = engine.get(Family.META, MAP_KEY)
            held = decode_map(payload, source) if payload is not None else None
            promised = {partition: said.epoch for partition, said in promises_stored(engine)}
            return MapCopy(identity.node_id, identity.name, source, held, promised, whole=not engine.damaged)
        finally:
            engine.close()
    finally:
        identity.close()


def _locked(directory: Path) -> Identity:
    """Lock a node's directory. Checked first: `open_identity` makes a node's directory of an empty one."""
    try:
        name = json.loads((directory / files.IDENTITY).read_bytes())["name"]
    except FileNotFoundError:
        raise Failure(
            f"{directory} is not a node's directory: there is no {files.IDENTITY}", REFUSED
        ) from None
    except (ValueError, KeyError, TypeError):
        name = ""  # open_identity says what is wrong with it
    return open_identity(directory, str(name))
