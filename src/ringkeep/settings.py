"""The settings of a node: flags override RINGKEEP_* variables, these a TOML file, and that the defaults.

Every value is read by the same parser, whatever its source, so that a wrong one is refused with the same
line: its source, what is wrong, what to do. Knows nothing of how a node uses its settings.
"""

import os
import socket
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from ringkeep import parsing
from ringkeep.core.cluster.slots import MOST, default_partitions
from ringkeep.core.protocol import limits
from ringkeep.errors import ConfigurationError
from ringkeep.exit_codes import REFUSED, USAGE
from ringkeep.parsing import host_port

PEER_PORT_OFFSET: Final = 2
"""The peer port is the HTTP port plus this, unless it is named."""

DEFAULT_HTTP: Final = "127.0.0.1:8000"
DEFAULT_ZOOKEEPER: Final = "127.0.0.1:2181"
DEFAULT_CLUSTER: Final = "default"
DEFAULT_DATA: Final = "ringkeep-data"
DEFAULT_DEV_DATA: Final = "ringkeep-dev"
DEV_NAME: Final = "dev"
"""Of the node of `ringkeep dev`, and of its cluster."""
SESSION_MS: Final = 6_000


class SettingsError(ConfigurationError):
    """A setting that is refused. `exit_code`: 2 for a flag, 78 for the environment or a file."""

    def __init__(self, message: str, exit_code: int = REFUSED) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """All settings of `ringkeep node`, or of `ringkeep dev`. Addresses are canonical "HOST:PORT" (see
    `host_port`).

    `replication` and `partitions` count only while the cluster is being formed; `partitions_given`: the
    number was configured, and a cluster with another one is refused. `warnings` are lines for the log and for
    the person who starts the node. `config` is the file that was read, or None. `alone`: a cluster of this
    node only, coordinated within its process; `peer`, `advertise_peer` and `zookeeper` are "" then.
    """

    name: str
    http: str
    peer: str
    advertise_http: str
    advertise_peer: str
    data: Path
    zookeeper: str
    cluster: str
    expect: int
    replication: int
    partitions: int
    zone: str
    weight: int
    partitions_given: bool = False
    config: Path | None = None
    log_level: str = "info"
    allowed_hosts: tuple[str, ...] = ()
    value_bytes: int = limits.VALUE_BYTES
    disk_reserve_bytes: int = limits.DISK_RESERVE_BYTES
    history_bytes: int = limits.HISTORY_BYTES
    zookeeper_session_ms: int = SESSION_MS
    alone: bool = False
    warnings: tuple[str, ...] = field(default=(), compare=False)

    @property
    def http_listener(self) -> tuple[str, int]:
        """Host (without brackets) and port to listen on for HTTP."""
        return host_port(self.http)

    @property
    def peer_listener(self) -> tuple[str, int]:
        """Host (without brackets) and port to listen on for the other nodes."""
        return host_port(self.peer)


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: its flag without the dashes, how it is read, and one line of help.

    `parse` raises ValueError with what is wrong and the remedy.
    """

    flag: str
    metavar: str
    parse: Callable[[str], Any]
    help: str

    @property
    def key(self) -> str:
        """Its name as a Python identifier."""
        return self.flag.replace("-", "_")

    @property
    def variable(self) -> str:
        """Its name in the environment."""
        return "RINGKEEP_" + self.key.upper()


NODE_SETTINGS: Final[tuple[Setting, ...]] = (
    Setting(
        "name", "NAME", parsing.name, "The node's name, unique in the cluster [default: the host's name]."
    ),
    Setting("http", "HOST:PORT", parsing.address, f"Where to listen for clients [default: {DEFAULT_HTTP}]."),
    Setting(
        "peer", "HOST:PORT", parsing.address, "Where to listen for other nodes [default: HTTP port + 2]."
    ),
    Setting(
        "advertise-http",
        "HOST:PORT",
        parsing.address,
        "The HTTP address as others reach it [default: --http].",
    ),
    Setting(
        "advertise-peer",
        "HOST:PORT",
        parsing.address,
        "The peer address as others reach it [default: --peer].",
    ),
    Setting("data", "DIR", parsing.directory, f"The data directory [default: ./{DEFAULT_DATA}/NAME]."),
    Setting(
        "zookeeper",
        "HOSTS",
        parsing.zookeeper,
        f"HOST:PORT[,HOST:PORT][/PATH] [default: {DEFAULT_ZOOKEEPER}].",
    ),
    Setting("cluster", "NAME", parsing.name, f"The cluster to form or to join [default: {DEFAULT_CLUSTER}]."),
    Setting(
        "expect", "N", parsing.whole(1, 1_000), "Nodes to wait for when forming [default: --replication]."
    ),
    Setting(
        "replication", "1|3|5", parsing.replication, f"Copies of each key [default: {limits.REPLICATION}]."
    ),
    Setting(
        "partitions",
        "Q",
        parsing.power_of_two(MOST),
        "How many partitions; fixed when forming [default: 16 or more for each expected node, 64 at least].",
    ),
    Setting(
        "zone",
        "ZONE",
        parsing.zone,
        "Failure domain: copies of a key go to different zones [default: the node's name].",
    ),
    Setting(
        "allowed-hosts",
        "NAME[,NAME]",
        parsing.allowed_hosts,
        "Further names by which browsers may address the node: NAME, .SUFFIX or * [default: none].",
    ),
    Setting(
        "weight",
        "W",
        parsing.whole(limits.WEIGHTS[0], limits.WEIGHTS[-1]),
        "The node's share of the data, relative to other nodes [default: 1].",
    ),
    Setting("log-level", "LEVEL", parsing.log_level, "debug, info, warning or error [default: info]."),
    Setting(
        "value-bytes",
        "BYTES",
        parsing.whole(1, limits.VALUE_BYTES),
        "The longest value [default: 4 MiB].",
    ),
    Setting(
        "disk-reserve-bytes",
        "BYTES",
        parsing.whole(0, 1 << 50),
        "Free disk to keep; with less, the node gives its primaries to others [default: 256 MiB].",
    ),
    Setting(
        "history-bytes",
        "BYTES",
        parsing.whole(0, 1 << 50),
        "Disk for the history of changes, for readers who were away [default: 1 GiB].",
    ),
    Setting(
        "zookeeper-session-ms",
        "MS",
        parsing.whole(1_000, 60_000),
        f"ZooKeeper session time-out [default: {SESSION_MS}].",
    ),
)
SETTINGS: Final[Mapping[str, Setting]] = {setting.key: setting for setting in NODE_SETTINGS}

DEV_SETTINGS: Final[Mapping[str, Setting]] = {
    key: SETTINGS[key]
    for key in (
        "http", "data", "partitions", "allowed_hosts", "log_level", "value_bytes", "disk_reserve_bytes",
        "history_bytes",
    )
} | {
    "data": Setting("data", "DIR", parsing.directory, f"The data directory [default: ./{DEFAULT_DEV_DATA}].")
}  # fmt: skip
"""Those of `ringkeep dev`, which has no other node to speak to."""


class Layers:
    """The layers above the defaults: looks a setting up, and knows where it was found.

    `known` are the settings by key; `config` is the TOML file, if there is one.
    """

    def __init__(
        self,
        known: Mapping[str, Setting],
        flags: Mapping[str, str | None],
        environ: Mapping[str, str],
        config: Path | None = None,
    ) -> None:
        self._known = known
        self._flags = flags
        self._environ = environ
        self._config = config
        self._file = _read_config(config) if config else {}

    def get(self, key: str) -> Any:
        """Return the parsed value of the highest layer that has one, or None. Raises SettingsError."""
        raw = self._raw(key)
        if raw is None:
            return None
        try:
            return self._known[key].parse(raw)
        except ValueError as error:
            raise self.refuse(key, str(error)) from None

    def refuse(self, key: str, problem: str) -> SettingsError:
        """Return the error that names where this setting came from."""
        setting = self._known[key]
        if self._flags.get(key) is not None:
            return SettingsError(f"--{setting.flag}: {problem}", USAGE)
        if self._environ.get(setting.variable):
            return SettingsError(f"{setting.variable} (environment): {problem}")
        if key in self._file:
            return SettingsError(f"{self._config}: {setting.flag}: {problem}")
        return SettingsError(f"--{setting.flag} (by default): {problem}", USAGE)

    def _raw(self, key: str) -> str | None:
        flag = self._flags.get(key)
        # An empty variable counts as unset, as `VAR= command` and compose files intend.
        return (
            flag if flag is not None else self._environ.get(self._known[key].variable) or self._file.get(key)
        )


def load_node_settings(
    flags: Mapping[str, str | None], environ: Mapping[str, str] | None = None
) -> NodeSettings:
    """Return a node's settings. `flags` holds what the command line gave, by key, None for what it did not.

    Raises SettingsError: one line that names the source, what is wrong and the remedy.
    """
    environ = os.environ if environ is None else environ
    path = flags.get("config") or environ.get("RINGKEEP_CONFIG")
    config = Path(path).expanduser().absolute() if path else None
    layers = Layers(SETTINGS, flags, environ, config)
    read = {setting.key: layers.get(setting.key) for setting in NODE_SETTINGS}
    given = {key: value for key, value in read.items() if value is not None}

    name = given.setdefault("name", _host_name(layers) if "name" not in given else "")
    http = given.setdefault("http", DEFAULT_HTTP)
    peer = given.setdefault("peer", _default_peer(http, layers))
    if http == peer:
        raise layers.refuse("peer", f"{peer} is the HTTP address too; give the two listeners different ports")
    given.setdefault("advertise_http", _reachable(http))
    given.setdefault("advertise_peer", _reachable(peer))
    if "data" not in given:
        given["data"] = default_data(layers, name)
    given.setdefault("zookeeper", DEFAULT_ZOOKEEPER)
    given.setdefault("cluster", DEFAULT_CLUSTER)
    given.setdefault("replication", limits.REPLICATION)
    given["partitions_given"] = "partitions" in given
    given.setdefault("expect", given["replication"])
    given.setdefault("partitions", default_partitions(given["expect"]))
    given.setdefault("zone", name)
    given.setdefault("weight", 1)
    return NodeSettings(**given, config=config, warnings=_warnings(given))


def load_dev_settings(
    flags: Mapping[str, str | None], environ: Mapping[str, str] | None = None
) -> NodeSettings:
    """Return the settings of a node that is alone; `flags` as for `load_node_settings`. Raises
    SettingsError."""
    layers = Layers(DEV_SETTINGS, flags, os.environ if environ is None else environ)
    read = {key: layers.get(key) for key in DEV_SETTINGS}
    given = {key: value for key, value in read.items() if value is not None}
    http = given.setdefault("http", DEFAULT_HTTP)
    if "data" not in given:
        given["data"] = default_data(layers, root=DEFAULT_DEV_DATA)
    given["partitions_given"] = "partitions" in given
    given.setdefault("partitions", default_partitions(1))
    return NodeSettings(
        **given, name=DEV_NAME, cluster=DEV_NAME, zone=DEV_NAME, advertise_http=_reachable(http), peer="",
        advertise_peer="", zookeeper="", expect=1, replication=1, weight=1, alone=True,
        warnings=_warnings(given),
    )  # fmt: skip


def default_data(layers: "Layers", *names: str, root: str = DEFAULT_DATA) -> Path:
    """Return the data directory below the working directory. Raises SettingsError if its path is invalid."""
    try:
        return parsing.directory(str(Path(root, *names)))
    except ValueError as error:
        raise layers.refuse("data", str(error)) from None


def _warnings(given: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what the person who starts the node should know."""
    warnings = []
    for key in ("http", "peer"):
        if key in given and not parsing.is_loopback(host_port(given[key])[0]):
            warnings.append(
                f"--{key} {given[key]} can be reached from other machines, and neither encryption nor "
                f"authentication is configured: anybody who reaches it can read and write"
            )
    for key in ("advertise_http", "advertise_peer"):
        if key in given and parsing.is_wildcard(host_port(given[key])[0]):
            warnings.append(
                f"--{SETTINGS[key].flag} {given[key]} is not an address that another machine can connect to"
            )
    return tuple(warnings)


def _host_name(layers: Layers) -> str:
    try:
        return parsing.name(socket.gethostname())
    except ValueError as error:
        raise layers.refuse(
            "name", f"the host's name is not a valid node name ({error}); give one with --name"
        ) from None


def _default_peer(http: str, layers: Layers) -> str:
    host, port = host_port(http)
    if port + PEER_PORT_OFFSET > parsing.MAX_PORT:
        raise layers.refuse(
            "peer", f"there is no port {port + PEER_PORT_OFFSET}; give one with --peer HOST:PORT"
        )
    return parsing.join_address(host, port + PEER_PORT_OFFSET)


def _reachable(listener: str) -> str:
    """Return the address under which others reach a listener: the host's name where it listens everywhere."""
    host, port = host_port(listener)
    return parsing.join_address(socket.gethostname(), port) if parsing.is_wildcard(host) else listener


def _read_config(path: Path) -> dict[str, str]:
    """Return a TOML file's settings by key, as text. Names may be written with `-` or `_`."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read ({error.strerror}); check --config") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{path}: is not UTF-8 text; save it as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: is not TOML: {error}") from None
    settings: dict[str, str] = {}
    for name, value in content.items():
        key = name.replace("-", "_")
        if key not in SETTINGS:
            raise SettingsError(f"{path}: there is no setting '{name}'{_suggestion(key)}")
        if key in settings:
            raise SettingsError(f"{path}: '{name}' is set twice, with - and with _; remove one")
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise SettingsError(f"{path}: {name}: must be a text in quotes or a whole number, not {value!r}")
        settings[key] = str(value)
    return settings


def _suggestion(key: str) -> str:
    close = get_close_matches(key, SETTINGS, n=1)
    if close:
        return f"; did you mean '{SETTINGS[close[0]].flag}'?"
    return "; the settings are: " + ", ".join(setting.flag for setting in NODE_SETTINGS)
