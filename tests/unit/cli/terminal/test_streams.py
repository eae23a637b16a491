"""Streams that are closed, full or of another encoding: one line and an exit code, never a traceback."""

import json
import os
import pty
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.http.host import Host

from ringkeep.cli.local.stop_signals import StopRequests

RINGKEEP = f"{shlex.quote(sys.executable)} -m ringkeep.cli.main"
COMMANDS = ["put k v", "put k", "get none", "get k", "status", "where a --json", "nonsense", "--help"]
NOWHERE = ">&-", "2>&-", "<&-", ">&- 2>&- <&-", ">/dev/full"


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    host = Host()
    yield host
    host.close()


def shell(host: Host, command: str, **environ: str) -> "subprocess.CompletedProcess[bytes]":
    environ = dict(os.environ) | {"RINGKEEP_ENDPOINTS": host.url, "PYTHONFAULTHANDLER": "1"} | environ
    return subprocess.run(
        ["bash", "-c", command], env=environ, capture_output=True, timeout=60, input=b"typed"
    )


def is_one_line(text: bytes) -> bool:
    return text.count(b"\n") == 1 and text.startswith((b"ringkeep: ", b"{"))


@pytest.mark.parametrize("streams", NOWHERE)
def test_streams_that_lead_nowhere_end_in_one_line(host: Host, streams: str) -> None:
    for command in COMMANDS:
        done = shell(host, f"{RINGKEEP} {command} {streams}")
        what = f"{command} {streams}: {done}"
        assert b"Traceback" not in done.stderr and b"Exception" not in done.stderr, what
        assert not done.stderr or is_one_line(done.stderr), what
        assert done.returncode in (0, 1, 2, 3, 4), what


def test_a_write_needs_no_output_and_a_read_does(host: Host) -> None:
    assert shell(host, f"{RINGKEEP} put quiet v >&-").returncode == 0
    assert shell(host, f"{RINGKEEP} get quiet").stdout == b"v"
    for nowhere in (">&-", ">/dev/full"):
        done = shell(host, f"{RINGKEEP} get quiet {nowhere}")
        assert done.returncode == 1 and is_one_line(done.stderr), done
    done = shell(host, f"{RINGKEEP} put quiet <&-")
    assert done.returncode == 1 and is_one_line(done.stderr), "an empty value was not meant"


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "utf-8"])
def test_every_encoding_can_show_everything(host: Host, encoding: str) -> None:
    for command in COMMANDS:
        done = shell(host, f"{RINGKEEP} {command}", PYTHONIOENCODING=encoding)
        assert b"Traceback" not in done.stderr, f"{command}: {done.stderr!r}"
        done.stdout.decode(encoding)
    shell(host, f"{RINGKEEP} put k 'schön – 好'")
    shown = shell(host, f"{RINGKEEP} get k --json", PYTHONIOENCODING=encoding).stdout
    assert json.loads(shown.decode(encoding))["value"] == "schön – 好"
    assert shell(host, f"{RINGKEEP} get k", PYTHONIOENCODING=encoding).stdout == "schön – 好".encode()


def test_errors_are_json_for_programs(host: Host) -> None:
    for command, code in (("get none --json", 3), ("put k v --if-version 99 --json", 1), ("get --json", 2)):
        done = shell(host, f"{RINGKEEP} {command}")
        said = json.loads(done.stderr)
        assert (said["status"], said["exit_code"], done.returncode) == ("Failed", code, code)
    assert is_one_line(shell(host, f"{RINGKEEP} get -- --json").stderr), "here it is a key"


def test_a_value_on_a_terminal_ends_its_line(host: Host) -> None:
    for value, shown in ((b"plain", b"plain\r\n"), (b"ended\n", b"ended\r\n")):
        shell(host, f"{RINGKEEP} put k {shlex.quote(value.decode())}")
        terminal, ours = pty.openpty()
        command = [*shlex.split(RINGKEEP), "get", "k", "--endpoint", host.url]
        subprocess.run(command, stdout=ours, check=True, timeout=60)
        os.close(ours)
        assert os.read(terminal, 100) == shown
        os.close(terminal)


def test_no_file_gets_the_number_of_a_closed_stream(tmp_path: Path) -> None:
    program = (
        "from ringkeep.cli.terminal import streams; streams.prepare();"
        f"print(open({str(tmp_path / 'data')!r}, 'w').fileno(), file=open({str(tmp_path / 'said')!r}, 'w'))"
    )
    command = f"{shlex.quote(sys.executable)} -c {shlex.quote(program)} <&- >&- 2>&-"
    assert subprocess.run(["bash", "-c", command], timeout=60).returncode == 0
    assert int((tmp_path / "said").read_text()) > 2


@pytest.mark.parametrize(("inherited", "stops"), [(signal.SIG_IGN, False), (signal.SIG_DFL, True)])
def test_a_closed_terminal_is_ignored_where_it_was(inherited: signal.Handlers, stops: bool) -> None:
    before = signal.signal(signal.SIGHUP, inherited)
    try:
        with StopRequests() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert bool(stop) == stops
        assert signal.getsignal(signal.SIGHUP) == inherited
    finally:
        signal.signal(signal.SIGHUP, before)
