"""The settings of `ringkeep up`, and the record of what the cluster in its directory was formed with."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ringkeep import parsing
from ringkeep.cli.local.node_directory import belongs_to_a_cluster
from ringkeep.cli.terminal.failure import Failure
from ringkeep.core.cluster.slots import default_partitions
from ringkeep.core.protocol import limits
from ringkeep.exit_codes import REFUSED
from ringkeep.settings import (
    DEFAULT_CLUSTER,
    DEFAULT_DATA,
    PEER_PORT_OFFSET,
    SETTINGS,
    Layers,
    Setting,
    SettingsError,
    default_data,
)

PORTS_APART: Final = 10
NODES: Final = 5
MAX_NODES: Final = 100
RECORD: Final = "cluster.json"
"""Names the file that records it. It counts for the next `up` once a node belongs to a cluster."""

RECORDED: Final = ("cluster", "replication", "partitions", "nodes")

UP_SETTINGS: Final[Mapping[str, Setting]] = {
    setting.key: setting
    for setting in (
        Setting(
            "nodes",
            "N",
            parsing.whole(1, MAX_NODES),
            f"How many nodes [default: {NODES}, or as many as before].",
        ),
        SETTINGS["replication"],
        SETTINGS["partitions"],
        Setting(
            "base-port",
            "PORT",
            parsing.whole(1, parsing.MAX_PORT),
            "HTTP port of the first node, the others "
            f"{PORTS_APART} apart; peer ports are {PEER_PORT_OFFSET} higher [default: 8000].",
        ),
        Setting("data", "DIR", parsing.directory, f"Where the data is kept [default: ./{DEFAULT_DATA}]."),
        Setting("zookeeper", "HOSTS", parsing.zookeeper, "A running ZooKeeper [default: start one]."),
        Setting(
            "zookeeper-port",
            "PORT",
            parsing.whole(1, parsing.MAX_PORT),
            f"Port of the ZooKeeper it starts [default: {parsing.ZOOKEEPER_PORT}, or the next free one].",
        ),
        SETTINGS["cluster"],
        SETTINGS["allowed_hosts"],
    )
}


@dataclass(frozen=True, slots=True)
class UpSettings:
    """A local cluster. `zookeeper` None: one is started; `zookeeper_port` None: on the first free port."""

    data: Path
    partitions: int
    nodes: int = NODES
    replication: int = limits.REPLICATION
    base_port: int = 8_000
    zookeeper: str | None = None
    zookeeper_port: int | None = None
    cluster: str = DEFAULT_CLUSTER
    allowed_hosts: tuple[str, ...] = ()

    def http_port(self, position: int) -> int:
        """Return the HTTP port of the node at this position, counted from 0."""
        return self.base_port + PORTS_APART * position

    def remember(self) -> None:
        """Record what the cluster is formed with. Called before the nodes can form it."""
        formed = {
            "format": 1,
            "cluster": self.cluster,
            "replication": self.replication,
            "partitions": self.partitions,
            "nodes": max(self.nodes, _recorded(self.data).get("nodes", 0)),
        }
        new = self.data / f"{RECORD}.new"
        new.write_text(json.dumps(formed, indent=2) + "\n", encoding="utf-8")
        new.replace(self.data / RECORD)


def load_up_settings(flags: Mapping[str, str | None], environ: Mapping[str, str]) -> UpSettings:
    """Return the settings of `up`: flags, else the environment, else the directory's record, else defaults.

    Raises SettingsError; Failure (78) if the cluster in the directory was formed otherwise.
    """
    layers = Layers(UP_SETTINGS, flags, environ)
    read = {key: layers.get(key) for key in UP_SETTINGS}
    given = {key: value for key, value in read.items() if value is not None}
    if "data" not in given:
        given["data"] = default_data(layers)
    data = given["data"]
    recorded = _recorded(data)
    for key in ("partitions", "replication", "cluster"):
        if key in given and key in recorded and given[key] != recorded[key]:
            raise Failure(
                f"--{key} {given[key]} is refused: the cluster in {data} was formed with {recorded[key]}, "
                f"which cannot be changed here; leave --{key} out, or choose another --data directory",
                REFUSED,
            )
    given = recorded | given
    given.setdefault("partitions", default_partitions(given.get("nodes", NODES)))
    settings = UpSettings(**given)
    if settings.http_port(settings.nodes - 1) + PEER_PORT_OFFSET > parsing.MAX_PORT:
        raise layers.refuse(
            "base_port", f"{settings.nodes} nodes do not fit between it and 65535; give a lower one"
        )
    _check_zookeeper_port(settings, layers)
    return settings


def _check_zookeeper_port(settings: UpSettings, layers: Layers) -> None:
    port = settings.zookeeper_port
    if port is None:
        return
    if settings.zookeeper is not None:
        raise layers.refuse(
            "zookeeper_port",
            f"no ZooKeeper is started when --zookeeper {settings.zookeeper} is given; leave one out",
        )
    for position in range(settings.nodes):
        http = settings.http_port(position)
        if port in (http, http + PEER_PORT_OFFSET):
            raise layers.refuse("zookeeper_port", f"node-{position + 1} needs {port}; choose another one")


def _recorded(data: Path) -> dict[str, Any]:
    """Return what an earlier `up` recorded, {} if there was none, or if it formed no cluster."""
    if not any(map(belongs_to_a_cluster, data.glob("node-*"))):
        return {}
    try:
        content = json.loads((data / RECORD).read_text(encoding="utf-8"))
        return {key: UP_SETTINGS[key].parse(str(content[key])) for key in RECORDED}
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise SettingsError(f"{data / RECORD}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise SettingsError(f"{data / RECORD} was changed or damaged ({error}); remove it") from None
