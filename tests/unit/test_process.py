"""Pid files, ports and logs: what every process of Ringkeep has."""

import logging
import os
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from ringkeep import process
from ringkeep.errors import ConfigurationError


def test_a_pid_file_belongs_to_one_live_process(tmp_path: Path) -> None:
    code = f"""
from pathlib import Path
from ringkeep.process import PidFile
held = PidFile.take(Path({str(tmp_path)!r}))
print("held", flush=True)
input()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        assert (tmp_path / "pid").read_text() == f"{holder.pid}\n"
        assert process.owner(tmp_path) == holder.pid
        with pytest.raises(ConfigurationError, match=f"process {holder.pid}"):
            process.PidFile.take(tmp_path)
        holder.kill()
    assert process.owner(tmp_path) is None, "the file is still there, its owner is not"
    with process.PidFile.take(tmp_path):
        assert process.owner(tmp_path) == os.getpid()
    assert not (tmp_path / "pid").exists()


def test_a_recycled_number_is_nobody(tmp_path: Path) -> None:
    (tmp_path / "pid").write_text(f"{os.getpid()}\n")
    assert process.owner(tmp_path) is None
    assert process.owner_by_command(tmp_path, "some/zoo.cfg") is None
    assert process.owner_by_command(tmp_path, "python") == os.getpid(), shlex.join(sys.argv)
    (tmp_path / "pid").write_text("nonsense")
    assert process.read_pid(tmp_path) is None


def test_ports(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert not process.port_is_free("127.0.0.1", port)
        free = process.first_free_port("127.0.0.1", port)
        assert free is not None and free > port
        assert process.first_free_port("127.0.0.1", free, avoid=[free]) != free
    assert process.port_is_free("127.0.0.1", port)


def test_the_log_names_the_node_and_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, level = logging.root.handlers[:], logging.root.level
    logging.root.handlers[:] = []  # they are pytest's, and `start_log` would close them
    monkeypatch.setattr(process, "LOG_BYTES", 2_000)
    try:
        process.start_log(tmp_path, "node-7", "info", to_stderr=False)
        for number in range(200):
            logging.getLogger("ringkeep.test").info("line %d", number)
        logging.getLogger("ringkeep.test").debug("not shown")
        [last] = process.last_lines(tmp_path / "log", 1)
    finally:
        for handler in logging.root.handlers:
            handler.close()
        logging.root.handlers[:] = before
        logging.root.setLevel(level)
    assert last.endswith("INFO    node-7 ringkeep.test: line 199")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log", "log.1", "log.2", "log.3"]


def resolves_to(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """Have every name resolve to these addresses; 192.0.2.1 (RFC 5737) is no machine's own."""
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)


def test_a_name_is_listened_on_where_this_machine_has_its_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    resolves_to(monkeypatch, "192.0.2.1", "127.0.0.1", "127.0.0.1")
    assert process.addresses_here("localhost") == ["127.0.0.1"]
    resolves_to(monkeypatch, "192.0.2.1")
    with pytest.raises(OSError, match=r"does not have 192\.0\.2\.1"):
        process.addresses_here("elsewhere")
    monkeypatch.undo()
    assert process.addresses_here("0.0.0.0") == ["0.0.0.0"]
    with pytest.raises(OSError):
        process.addresses_here("no such name")
