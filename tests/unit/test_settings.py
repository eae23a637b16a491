"""Settings: which layer wins, and how a wrong value is refused."""

import json
import re
from inspect import signature
from pathlib import Path

import pytest
from tests.support.paths import DOCS

from ringkeep import parsing
from ringkeep.cli.commands.dev import dev
from ringkeep.cli.commands.node import node
from ringkeep.cli.local.settings import UpSettings, load_up_settings
from ringkeep.cli.terminal.failure import Failure
from ringkeep.core.protocol import limits
from ringkeep.errors import ConfigurationError
from ringkeep.settings import (
    DEV_SETTINGS,
    NODE_SETTINGS,
    NodeSettings,
    SettingsError,
    load_dev_settings,
    load_node_settings,
)


def load(environ: dict[str, str] | None = None, **flags: str) -> NodeSettings:
    return load_node_settings(flags, environ or {})


def refusal(environ: dict[str, str] | None = None, **flags: str) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        load(environ, **flags)
    assert "\n" not in str(caught.value)
    return caught.value


def test_defaults_follow_from_one_another() -> None:
    settings = load(name="a", http="127.0.0.1:9000", replication="5")
    assert settings.peer == settings.advertise_peer == "127.0.0.1:9002"
    assert settings.advertise_http == "127.0.0.1:9000"
    assert settings.zone == "a"
    assert settings.expect == 5
    assert settings.data == Path("ringkeep-data/a").absolute()
    assert (settings.weight, settings.partitions) == (1, 128)
    assert (settings.value_bytes, settings.disk_reserve_bytes) == (4 * limits.MIB, 256 * limits.MIB)
    assert settings.warnings == ()
    assert settings.http_listener == ("127.0.0.1", 9000)


def test_flag_over_environment_over_file_over_default(tmp_path: Path) -> None:
    config = tmp_path / "node.toml"
    config.write_text('name = "file"\nzone = "file"\ncluster = "file"\nweight = 3\nadvertise-http = "h:1"\n')
    environ = {"RINGKEEP_NAME": "env", "RINGKEEP_ZONE": "env", "RINGKEEP_CONFIG": str(config)}
    settings = load(environ, name="flag")
    assert (settings.name, settings.zone, settings.cluster) == ("flag", "env", "file")
    assert (settings.weight, settings.expect) == (3, 3)
    assert settings.advertise_http == "h:1"
    assert settings.config == config


def test_an_empty_variable_counts_as_unset() -> None:
    assert load({"RINGKEEP_ZONE": ""}, name="a").zone == "a"


def test_every_setting_can_come_from_every_layer(tmp_path: Path) -> None:
    samples = {
        "name": "n", "http": "h:1", "peer": "h:2", "advertise_http": "h:3", "advertise_peer": "h:4",
        "data": "/d", "zookeeper": "z:1", "cluster": "c", "expect": "2", "replication": "1",
        "partitions": "64", "zone": "z", "weight": "2", "log_level": "debug", "value_bytes": "10",
        "disk_reserve_bytes": "11", "history_bytes": "12", "zookeeper_session_ms": "2000",
        "allowed_hosts": "a.example,.b",
    }  # fmt: skip
    assert set(samples) == {setting.key for setting in NODE_SETTINGS}
    config = tmp_path / "c.toml"
    config.write_text("".join(f'{key} = "{value}"\n' for key, value in samples.items()))
    by_flag = load(None, **samples)
    by_environment = load({f"RINGKEEP_{key.upper()}": value for key, value in samples.items()})
    by_file = load(config=str(config))
    for key in samples:
        assert getattr(by_flag, key) == getattr(by_environment, key) == getattr(by_file, key), key
    assert by_flag.disk_reserve_bytes == 11


def test_every_setting_is_a_flag_and_stands_in_the_table() -> None:
    keys = {setting.key for setting in NODE_SETTINGS}
    assert set(signature(node).parameters) == keys | {"config"}
    text = (DOCS / "operations.md").read_text(encoding="utf-8")
    table = text.partition("## Settings of a node")[2].partition("\n## ")[0]
    assert set(re.findall(r"`--([a-z-]+)`", "".join(re.findall(r"^\| ([^|]*)", table, re.MULTILINE)))) == {
        key.replace("_", "-") for key in keys | {"config"}
    }


def test_a_node_that_is_alone_has_one_copy_one_port_and_no_zookeeper() -> None:
    assert set(signature(dev).parameters) == set(DEV_SETTINGS)
    settings = load_dev_settings({}, {"RINGKEEP_ZOOKEEPER": "elsewhere", "RINGKEEP_NAME": "n1"})
    assert settings.alone and (settings.replication, settings.expect) == (1, 1)
    assert (settings.http, settings.data) == ("127.0.0.1:8000", Path("ringkeep-dev").absolute())
    assert settings.peer == settings.advertise_peer == settings.zookeeper == ""
    assert settings.warnings == () and not load(name="a").alone
    (warning,) = load_dev_settings({"http": "0.0.0.0:1"}, {}).warnings
    assert "--http 0.0.0.0:1 can be reached from other machines" in warning
    with pytest.raises(SettingsError) as refused:
        load_dev_settings({}, {"RINGKEEP_DATA": "\0"})
    assert refused.value.exit_code == 78


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"http": "8000"}, ["--http", "127.0.0.1:8000"]),
        ({"http": "localhost"}, ["--http", "HOST:PORT"]),
        ({"http": ":8000"}, ["--http", "host"]),
        ({"http": "h:0"}, ["--http", "1 to 65535"]),
        ({"http": "h:65536"}, ["--http", "1 to 65535"]),
        ({"http": "h:٣"}, ["--http", "1 to 65535"]),
        ({"http": "::1:8000"}, ["--http", "brackets", "[::1]:8000"]),
        ({"http": "[h]:8000"}, ["--http", "IPv6"]),
        ({"http": "[127.0.0.1]:8000"}, ["--http", "IPv6"]),
        ({"http": "a b:80"}, ["--http", "host name"]),
        ({"http": "http://h:80"}, ["--http"]),
        ({"http": "h:80", "peer": "h:80"}, ["--peer", "different ports"]),
        ({"http": "h:65535"}, ["--peer", "65537"]),
        ({"replication": "2"}, ["--replication", "1, 3 or 5"]),
        ({"replication": "three"}, ["--replication", "1, 3 or 5"]),
        ({"partitions": "100"}, ["--partitions", "64 and 128"]),
        ({"partitions": "0"}, ["--partitions", "1 to 4096"]),
        ({"partitions": "8192"}, ["--partitions", "4096"]),
        ({"name": "a/b"}, ["--name", "letters"]),
        ({"name": ""}, ["--name"]),
        ({"name": ".."}, ["--name"]),
        ({"name": "a" * 65}, ["--name", "64"]),
        ({"cluster": "a/b"}, ["--cluster", "letters"]),
        ({"zone": "a b"}, ["--zone"]),
        ({"weight": "0"}, ["--weight", "1 to 100"]),
        ({"weight": "1.5"}, ["--weight", "whole number"]),
        ({"expect": "-1"}, ["--expect", "whole number"]),
        ({"zookeeper": "a:1,,b:1"}, ["--zookeeper", "empty"]),
        ({"zookeeper": "a:1/"}, ["--zookeeper", "path"]),
        ({"zookeeper": "a:1/x/../y"}, ["--zookeeper", "path"]),
        ({"data": ""}, ["--data"]),
        ({"log_level": "loud"}, ["--log-level", "debug"]),
    ],
)
def test_a_wrong_flag_is_a_usage_error_in_one_line(flags: dict[str, str], words: list[str]) -> None:
    error = refusal(None, **({"name": "a"} | flags))
    assert error.exit_code == 2
    for word in words:
        assert word in str(error)


def test_a_wrong_variable_is_refused_configuration() -> None:
    error = refusal({"RINGKEEP_ADVERTISE_HTTP": "x"}, name="a")
    assert error.exit_code == 78
    assert str(error).startswith("RINGKEEP_ADVERTISE_HTTP (environment): 'x'")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("weight = 1000", ["weight", "1 to 100"]),
        ("weight = true", ["weight", "whole number"]),
        ("wieght = 1", ["'wieght'", "did you mean 'weight'"]),
        ("zzz = 1", ["'zzz'", "advertise-http"]),
        ("zone = ", ["TOML"]),
        ("log-level = 'info'\nlog_level = 'info'", ["twice"]),
        ("[name]\na = 1", ["name"]),
    ],
)
def test_a_wrong_file_is_refused_by_its_name(tmp_path: Path, content: str, words: list[str]) -> None:
    config = tmp_path / "node.toml"
    config.write_text(content)
    error = refusal(config=str(config))
    assert error.exit_code == 78
    for word in [str(config), *words]:
        assert word in str(error)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    assert "No such file" in str(refusal(config=str(tmp_path / "none")))
    (tmp_path / "latin").write_bytes(b'zone = "\xe9"')
    assert "UTF-8" in str(refusal(config=str(tmp_path / "latin")))


def test_addresses_become_canonical() -> None:
    assert parsing.address("[0:0::1]:80") == "[::1]:80"
    assert parsing.host_port("[::1]:80") == ("::1", 80)
    assert parsing.zookeeper("a, b:1,[::1],[::2]:3/x/y") == "a:2181,b:1,[::1]:2181,[::2]:3/x/y"


@pytest.mark.parametrize("http", ["0.0.0.0:8000", "[::]:8000", "192.0.2.1:8000", "example.org:8000"])
def test_a_listener_that_is_not_loopback_warns(http: str) -> None:
    settings = load(name="a", http=http, peer="127.0.0.1:9", advertise_http="h:1")
    assert len(settings.warnings) == 1
    assert http in settings.warnings[0]
    assert settings.peer == "127.0.0.1:9"


@pytest.mark.parametrize("http", ["127.0.0.1:8000", "127.9.9.9:8000", "[::1]:8000", "localhost:8000"])
def test_loopback_does_not_warn(http: str) -> None:
    assert load(name="a", http=http).warnings == ()


def test_everywhere_is_nobodys_address() -> None:
    assert not load(name="a", http="0.0.0.0:8000").advertise_http.startswith("0.0.0.0")
    warnings = load(name="a", advertise_http="0.0.0.0:8000").warnings
    assert any("--advertise-http" in warning for warning in warnings)


# --- ringkeep up ---------------------------------------------------------------------------------------


def form(settings: UpSettings, cluster_id: str = "some") -> None:
    settings.remember()
    (settings.data / "node-1").mkdir(exist_ok=True)
    (settings.data / "node-1" / "identity.json").write_text(json.dumps({"cluster_id": cluster_id}))


def test_up_goes_on_with_what_the_directory_holds(tmp_path: Path) -> None:
    first = load_up_settings({"data": str(tmp_path), "nodes": "3", "partitions": "64"}, {})
    assert (first.nodes, first.partitions, first.replication, first.base_port) == (3, 64, 3, 8000)
    form(first)
    again = load_up_settings({"data": str(tmp_path)}, {"RINGKEEP_BASE_PORT": "9000"})
    assert (again.nodes, again.partitions, again.base_port) == (3, 64, 9000)
    more = load_up_settings({"data": str(tmp_path), "nodes": "5", "partitions": "64"}, {})
    assert more.nodes == 5


@pytest.mark.parametrize("flags", [{"partitions": "32"}, {"replication": "5"}, {"cluster": "other"}])
def test_up_refuses_what_cannot_change(tmp_path: Path, flags: dict[str, str]) -> None:
    form(load_up_settings({"data": str(tmp_path)}, {}))
    with pytest.raises(Failure) as caught:
        load_up_settings({"data": str(tmp_path)} | flags, {})
    assert caught.value.exit_code == 78
    assert str(tmp_path) in str(caught.value)


def test_up_may_begin_anew_where_nothing_was_formed(tmp_path: Path) -> None:
    form(load_up_settings({"data": str(tmp_path), "partitions": "64"}, {}), cluster_id="")
    assert load_up_settings({"data": str(tmp_path), "partitions": "32"}, {}).partitions == 32
    assert load_up_settings({"data": str(tmp_path)}, {}).partitions == 128


def test_up_refuses_a_damaged_record(tmp_path: Path) -> None:
    form(load_up_settings({"data": str(tmp_path)}, {}))
    (tmp_path / "cluster.json").write_text("{}")
    with pytest.raises(ConfigurationError, match=r"cluster\.json"):
        load_up_settings({"data": str(tmp_path)}, {})


def test_up_needs_ports_for_all_nodes(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="--base-port") as caught:
        load_up_settings({"data": str(tmp_path), "base_port": "65530"}, {})
    assert caught.value.exit_code == 2


def test_the_port_of_the_zookeeper_that_up_starts(tmp_path: Path) -> None:
    where = {"data": str(tmp_path), "nodes": "3", "base_port": "9000"}
    assert load_up_settings(where, {}).zookeeper_port is None
    assert load_up_settings(where, {"RINGKEEP_ZOOKEEPER_PORT": "2200"}).zookeeper_port == 2_200
    wrong: dict[str, dict[str, str]] = {
        "whole number": {"zookeeper_port": "x"},
        "node-2 needs 9010": {"zookeeper_port": "9010"},
        "node-3 needs 9022": {"zookeeper_port": "9022"},
        "no ZooKeeper is started when --zookeeper h:2181 is given": {
            "zookeeper_port": "2200",
            "zookeeper": "h",
        },
    }
    for problem, flags in wrong.items():
        with pytest.raises(SettingsError, match=f"--zookeeper-port.*{problem}"):
            load_up_settings(where | flags, {})
