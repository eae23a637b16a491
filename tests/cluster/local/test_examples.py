"""The programs in examples/ do what they say, also when answers are lost on their way back."""

import http.client
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from tests.support.cluster.cluster import HOST, Cluster, free_ports
from tests.support.paths import ROOT

from ringkeep.process import port_is_free

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(240),
    pytest.mark.skipif(sys.platform != "linux", reason="nodes die with the test by a call of Linux"),
]

EXAMPLES = ROOT / "examples"


class Lossy(ThreadingHTTPServer):
    """Passes requests on to a node. Of every three writes, one loses its answer, and one is lost itself."""

    daemon_threads = True

    def __init__(self, target: int) -> None:
        super().__init__((HOST, 0), _Handler)
        self.target = target
        self.writes = 0
        self.lost_answers = 0
        Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Lossy

    def do_GET(self) -> None:
        self._pass_on()

    def do_PUT(self) -> None:
        self.server.writes += 1
        if self.server.writes % 3 == 1:
            self._ask()
            self.server.lost_answers += 1
        elif self.server.writes % 3 == 0:
            self._pass_on()
        self.close_connection = True

    def _pass_on(self) -> None:
        answer, content = self._ask()
        self.send_response(answer.status)
        for name in ("ETag", "Content-Type"):
            if value := answer.getheader(name):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _ask(self) -> tuple[http.client.HTTPResponse, bytes]:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        connection = http.client.HTTPConnection(HOST, self.server.target, timeout=15)
        try:
            connection.request(self.command, self.path, body or None, dict(self.headers.items()))
            answer = connection.getresponse()
            return answer, answer.read()
        finally:
            connection.close()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def lossy(nodes: Cluster) -> Iterator[list[Lossy]]:
    """The ways to two nodes, on which answers are lost."""
    ways = [Lossy(nodes.places[name].http) for name in nodes.names[:2]]
    yield ways
    for way in ways:
        way.shutdown()
        way.server_close()


def url(cluster: Cluster, name: str) -> str:
    return f"http://{HOST}:{cluster.places[name].http}"


def begin(example: str, *words: str, **environment: str) -> "subprocess.Popen[str]":
    command = [str(EXAMPLES / example), *words]
    if example.endswith(".py"):
        command.insert(0, sys.executable)
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | environment,
    )  # fmt: skip


def end(process: "subprocess.Popen[str]", limit_s: float = 120) -> tuple[int, str, str]:
    """Return exit code, output and error output."""
    try:
        out, err = process.communicate(timeout=limit_s)
    finally:
        process.kill()
    return process.returncode, out, err


def run(example: str, *words: str, **environment: str) -> tuple[int, str, str]:
    return end(begin(example, *words, **environment))


def test_counters_that_lose_answers_count_each_step_once(nodes: Cluster, lossy: list[Lossy]) -> None:
    ways = [*(way.url for way in lossy), url(nodes, "n3")]
    counters = [
        begin("counter.py", "visits", "--times", "8", *ways[shift:], *ways[:shift]) for shift in range(3)
    ]
    ends = [end(counter) for counter in counters]
    assert [(code, err) for code, _, err in ends] == [(0, "")] * 3
    counted = sorted(int(line) for _, out, _ in ends for line in out.split())
    assert counted == list(range(1, 25))
    assert nodes.get("n4", b"visits").body == b"24"
    assert all(way.lost_answers for way in lossy), "no answer was lost: this tried nothing"


@pytest.fixture
def mute() -> Iterator[Lossy]:
    """A way on which every connection breaks once the request is there."""
    way = Lossy(free_ports(1)[0])
    way.RequestHandlerClass = _Mute
    yield way
    way.shutdown()
    way.server_close()


class _Mute(_Handler):
    def do_GET(self) -> None:
        if self.path.startswith("/v1/kv/there"):
            self.send_error(404)

    def do_PUT(self) -> None:
        self.close_connection = True


def test_a_step_whose_result_nobody_tells_is_called_unknown(mute: Lossy) -> None:
    code, out, err = run("counter.py", "there", mute.url, PATIENCE_S="1")
    assert (code, out) == (4, "") and "not known" in err
    code, _, err = run("payment.sh", "40", "1.00", mute.url, PATIENCE_S="1")
    assert code == 4 and "not known" in err


def test_what_was_never_sent_is_not_called_unknown() -> None:
    nobody = f"http://{HOST}:{free_ports(1)[0]}"
    code, out, err = run("counter.py", "there", nobody, PATIENCE_S="1")
    assert (code, out) == (1, "") and "not added" in err
    code, _, err = run("payment.sh", "40", "1.00", nobody, PATIENCE_S="1")
    assert code == 1 and "not paid" in err


def test_a_payment_is_recorded_once(nodes: Cluster, lossy: list[Lossy]) -> None:
    ways = [way.url for way in lossy]
    paid = (0, "order 41: paid, 12.50\n", "")
    assert run("payment.sh", "41", "12.50", *ways) == paid
    first = nodes.get("n4", b"payments/41")
    assert run("payment.sh", "41", "12.50", *ways) == paid
    again = nodes.get("n4", b"payments/41")
    assert again.body == b"12.50" and again.headers["ETag"] == first.headers["ETag"]
    code, out, err = run("payment.sh", "41", "99.00", *ways)
    assert (code, out) == (1, "") and "another amount" in err
    assert sum(way.lost_answers for way in lossy) >= 2


def test_a_payment_of_long_ago_is_found(nodes: Cluster) -> None:
    """Its result is not kept any more; here it never was."""
    nodes.stored("n1", b"payments/42", b"7.00")
    assert run("payment.sh", "42", "7.00", url(nodes, "n2"))[:2] == (0, "order 42: already paid, 7.00\n")
    nodes.stored("n1", b"payments/43", b"7.00")
    code, _, err = run("payment.sh", "43", "8.00", url(nodes, "n2"))
    assert code == 1 and "another amount is recorded, 7.00" in err
    assert nodes.get("n3", b"payments/43").body == b"7.00"


def test_nothing_is_restarted_while_something_is_missing(nodes: Cluster, tmp_path: Path) -> None:
    nodes.kill("n4")
    called = tmp_path / "called"
    restart = script(tmp_path / "restart", f'echo "$1" >>{called}')
    pairs = [f"{name}={url(nodes, name)}" for name in ("n1", "n2", "n3")]
    code, out, err = run("rolling-restart.sh", str(restart), *pairs, PATIENCE_S="1")
    assert (code, out) == (1, "") and "not healthy" in err and "n4" in err
    assert not called.exists()


def test_three_nodes_by_hand_and_a_restart_of_each(tmp_path: Path) -> None:
    base, zookeeper = three_ports()
    environment = {
        "DATA": str(tmp_path / "three"), "BASE_PORT": str(base), "ZOOKEEPER_PORT": str(zookeeper),
        "RINGKEEP": str(script(tmp_path / "ringkeep", f'exec {sys.executable} -m ringkeep.cli.main "$@"')),
    }  # fmt: skip
    urls = {name: f"http://{HOST}:{base + 10 * number}" for number, name in enumerate("abc")}
    try:
        code, out, err = run("three-nodes.sh", "start", **environment)
        assert code == 0, (out, err)
        assert all(f"{name} is ready at {each}" in out for name, each in urls.items())
        assert run("counter.py", "restarts", "--add", "40", *urls.values()) == (0, "40\n", "")
        restart = script(tmp_path / "restart", f'exec {EXAMPLES / "three-nodes.sh"} restart "$1"')
        pairs = [f"{name}={each}" for name, each in urls.items()]
        code, out, err = run("rolling-restart.sh", str(restart), *pairs, **environment)
        assert code == 0 and out.count("has ended") == 3, (out, err)
        assert run("counter.py", "restarts", *urls.values()) == (0, "41\n", "")
        assert "runs already" in run("three-nodes.sh", "start", **environment)[2]
    finally:
        code, out, err = run("three-nodes.sh", "stop", **environment)
    assert code == 0 and out.count("has ended") == 4, (out, err)


def script(path: Path, line: str) -> Path:
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def three_ports() -> tuple[int, int]:
    """Return a port at which three nodes have room, and one for ZooKeeper."""
    while True:
        base, zookeeper = free_ports(2)
        wanted = {base + 10 * node + offset for node in range(3) for offset in (0, 2)}
        if zookeeper not in wanted and all(port_is_free(HOST, port) for port in wanted):
            return base, zookeeper


def test_each_example_is_named_in_the_readme() -> None:
    text = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    names = {path.name for path in EXAMPLES.iterdir() if path.suffix in (".py", ".sh")}
    assert names and all(f"[{name}]({name})" in text for name in names)
