"""`ringkeep import` and `export` with real nodes: there and back, and whatever dies half-way."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.cluster.cluster import RINGKEEP, Cluster
from tests.support.wait import until

from ringkeep.client import Client

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

KEYS = 12_000
TYPES = st.sampled_from(["text/plain", 'a "b", c'])
NASTY = st.one_of(
    st.binary(min_size=1, max_size=30),
    st.text(alphabet='",;\r\n\0\t \\ä€\ufeff{}', min_size=1, max_size=12).map(str.encode),
)


def urls(nodes: Cluster) -> list[str]:
    return [f"http://{nodes.places[name].host}:{nodes.places[name].http}" for name in nodes.names]


@pytest.fixture
def store(nodes: Cluster) -> Iterator[Client[bytes]]:
    with Client(urls(nodes), timeout=20) as client:
        client.delete_prefix("t/")
        client.delete_prefix("u/")
        yield client


def command(nodes: Cluster, *arguments: str | Path) -> list[str]:
    return [*RINGKEEP, *map(str, arguments), "--endpoint", ",".join(urls(nodes))]


def ringkeep(nodes: Cluster, *arguments: str | Path, code: int = 0, **options: Any) -> str:
    """Run a command that ends with this code; return what it has said."""
    done = subprocess.run(command(nodes, *arguments), capture_output=True, timeout=120, **options)
    said: str = (done.stdout + done.stderr).decode()
    assert done.returncode == code, said
    return said


class Records:
    """Many records in a file, under a prefix that no other test uses: deleting them would take longer."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.prefix = f"{path.parent.name}/"
        self.values = {
            f"{self.prefix}{number:06d}": f"{number:06d}" * (1 + number % 20) for number in range(KEYS)
        }
        lines = [json.dumps({"key": key, "value": value}) for key, value in self.values.items()]
        path.write_text("\n".join(lines) + "\n")
        self.first = next(iter(self.values))
        self._checkpoint = path.with_name(path.name + ".import")

    def line_done(self) -> int:
        """Return up to which line all is imported, as the checkpoint says."""
        return int(json.loads(self._checkpoint.read_text())["done"][1]) if self.broken_off() else 0

    def broken_off(self) -> bool:
        return self._checkpoint.exists()

    def check(self, store: Client[bytes]) -> None:
        """All are there."""
        found = {item.key.decode(): item.value for item in store.list(self.prefix, values=True)}
        assert found == {key: value.encode() for key, value in self.values.items()}


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return Records(tmp_path / "records.jsonl")


@given(
    st.dictionaries(
        NASTY, st.tuples(NASTY | st.just(b""), st.sampled_from(["text/plain", 'a "b", c'])), min_size=1
    ),
    st.sampled_from(["jsonl", "csv"]),
)
@settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_keys_and_values_there_and_back(
    store: Client[bytes], nodes: Cluster, tmp_path: Path, rows: dict[bytes, tuple[bytes, str]], format_: str
) -> None:
    store.delete_prefix("t/")
    with store.batch() as batch:
        for key, (value, content_type) in rows.items():
            batch.put(b"t/" + key, value, content_type=content_type)
    before = [(item.key, item.value, item.content_type) for item in store.list("t/", values=True)]
    path = tmp_path / "export"
    format_option = f"--format={format_}"
    ringkeep(nodes, "export", path, "--prefix=t/", format_option, "--verify", "--overwrite")
    store.delete_prefix("t/")
    ringkeep(nodes, "import", path, format_option, "--verify")
    after = [(item.key, item.value, item.content_type) for item in store.list("t/", values=True)]
    assert after == before and len(after) == len(rows)


def test_large_values_times_and_versions(store: Client[bytes], nodes: Cluster, tmp_path: Path) -> None:
    large = os.urandom(4 << 20)
    store.put("t/large", large)
    store.put(b"t/middle\xff", large[: 300 << 10])
    store.put("t/brief", b"", ttl=3_000)
    path = tmp_path / "export.jsonl"
    for more in ([], ["--expires"]):
        ringkeep(nodes, "export", path, "--prefix=t/", "--overwrite", *more)
        store.delete_prefix("t/")
        assert "3 keys read back" in ringkeep(nodes, "import", path, "--verify")
        assert store.get("t/large").value == large
        assert store.get(b"t/middle\xff").value == large[: 300 << 10]
        assert 2_000 < (store.get("t/brief").ttl or 0) <= 3_000
    store.put("t/brief", b"newer")
    assert "3 skipped: there is such a key" in ringkeep(nodes, "import", path, "--if-absent")
    assert store.get("t/brief").value == b"newer"


def test_a_pipe_copies_keys(store: Client[bytes], nodes: Cluster) -> None:
    store.put_many({f"t/{number}": b"%d" % number for number in range(2_000)})
    words = command(nodes, "export", "--prefix=t/")
    export = subprocess.Popen([*words, "--plain"], stdout=subprocess.PIPE)
    rename = subprocess.Popen(["sed", 's/"key":"t/"key":"u/'], stdin=export.stdout, stdout=subprocess.PIPE)
    said = ringkeep(nodes, "import", "-", "--json", stdin=rename.stdout)
    assert (export.wait(20), rename.wait(20), json.loads(said)["written"]) == (0, 0, 2_000)
    assert {item.key[2:]: item.value for item in store.list("u/", values=True)} == {
        item.key[2:]: item.value for item in store.list("t/", values=True)
    }
    whole = subprocess.run(words, capture_output=True, timeout=60, check=True).stdout
    cut = ringkeep(nodes, "import", "-", input=whole[: len(whole) // 2], code=1)
    assert "its last line is missing" in cut, "an export that died is noticed at the other end of the pipe"


def test_a_bad_line_is_told_and_the_rest_is_stored(
    store: Client[bytes], nodes: Cluster, tmp_path: Path
) -> None:
    path, rejected = tmp_path / "users.csv", tmp_path / "rejected.csv"
    path.write_bytes(b'key,value,ttl\nt/1,"a\nb",\nt/2,b,soon\nt/3,\0,60000\n')
    said = ringkeep(nodes, "import", path, "--rejected", rejected, code=1)
    assert "ringkeep: line 4: ttl: a number of milliseconds" in said
    assert "3 records read, 2 written\n1 failed: ttl is no number" in said
    assert rejected.read_bytes() == b"key,value,ttl\nt/2,b,soon\n"
    assert store.get("t/1").value == b"a\nb" and (store.get("t/3").ttl or 0) > 50
    rejected.write_bytes(rejected.read_bytes().replace(b"soon", b""))
    ringkeep(nodes, "import", rejected)
    assert store.get("t/2").value == b"b"
    refused = ringkeep(nodes, "import", "-", "--format=csv", input=b"a,b\n", code=1)
    assert "the first row should name the columns" in refused and "nothing was written" in refused


def test_a_node_is_killed_during_an_import(store: Client[bytes], nodes: Cluster, records: Records) -> None:
    words = command(nodes, "import", records.path, "--batch=100", "--rate=6000", "--verify")
    import_ = subprocess.Popen(words, stdout=subprocess.PIPE)
    until(lambda: store.count(records.prefix) > KEYS // 6, "a part to be imported")
    nodes.kill(nodes.names[0])
    said, _ = import_.communicate(timeout=120)
    assert import_.returncode == 0
    assert f"{KEYS:,} records read, {KEYS:,} written" in said.decode()
    records.check(store)


def test_an_import_that_is_killed_goes_on(store: Client[bytes], nodes: Cluster, records: Records) -> None:
    resume: list[str] = []
    for ending, code in ((signal.SIGKILL, -9), (signal.SIGTERM, 130), (signal.SIGINT, 130)):
        wanted = records.line_done() + 500
        words = command(nodes, "import", records.path, "--batch=50", "--rate=4000", *resume)
        import_ = subprocess.Popen(words, stderr=subprocess.PIPE)
        until(lambda wanted=wanted: records.line_done() >= wanted, "the next part to be imported")  # type: ignore[misc]
        import_.send_signal(ending)
        _, errors = import_.communicate(timeout=60)
        assert import_.returncode == code, errors
        assert code < 0 or b"--resume" in errors
        if not resume:
            store.put(records.first, b"newer")
            assert "--resume goes on with it" in ringkeep(nodes, "import", records.path, code=2)
            resume = ["--resume"]
    whole = records.path.read_bytes()
    records.path.write_bytes(whole.replace(b"000000", b"999999", 1))
    assert "has changed since" in ringkeep(nodes, "import", records.path, *resume, code=1)
    records.path.write_bytes(whole + b'{"key":"t/added","value":"since"}\n')  # behind what was read
    assert "another overwrite" in ringkeep(nodes, "import", records.path, *resume, "--if-absent", code=2)
    said = ringkeep(nodes, "import", records.path, *resume)
    assert f"{KEYS + 1:,} records read, {KEYS + 1:,} written" in said
    assert store.get(records.first).value == b"newer", "what was done is not done again"
    assert store.get("t/added").value == b"since" and not records.broken_off()
    store.put(records.first, records.values[records.first].encode())
    records.check(store)


def test_no_node_answers(nodes: Cluster, tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl"
    path.write_text('{"key":"t/1","value":""}\n')
    for words in (["import", path], ["export"]):
        done = subprocess.run(
            [*RINGKEEP, *map(str, words), "--endpoint=127.0.0.1:1", "--timeout=1s"],
            capture_output=True,
            timeout=60,
        )
        assert done.returncode == 4 and done.stderr.count(b"\n") == 1, done.stderr
    assert list(tmp_path.iterdir()) == [path], "nothing was begun"


@pytest.mark.parametrize("format_", ["jsonl", "csv"])
def test_an_export_that_was_broken_off_goes_on(
    store: Client[bytes], nodes: Cluster, tmp_path: Path, format_: str
) -> None:
    store.put_many({f't/{number}\n"': b'"\r\n,%d' % number for number in range(200)})
    path = tmp_path / f"export.{format_}"
    ringkeep(nodes, "export", path, "--prefix=t/")
    whole, part = path.read_bytes(), tmp_path / f"export.{format_}.part"
    assert "exists; --overwrite" in ringkeep(nodes, "export", path, "--prefix=t/", code=2)
    path.unlink()
    for kept in (5, len(whole) // 2, len(whole) - 3):  # a killed export leaves some beginning
        part.write_bytes(whole[:kept])
        assert "--resume goes on" in ringkeep(nodes, "export", path, "--prefix=t/", code=2)
        ringkeep(nodes, "export", path, "--prefix=t/", "--resume", "--verify")
        assert path.read_bytes() == whole, kept
        path.unlink()
    part.write_bytes(whole[: len(whole) // 2])
    if format_ == "jsonl":
        assert "other options" in ringkeep(nodes, "export", path, "--prefix=u/", "--resume", code=2)
    part.write_bytes(b"something else\n" * 9)
    assert "is no export" in ringkeep(nodes, "export", path, "--prefix=t/", "--resume", code=1)


def test_a_node_is_killed_during_an_export(store: Client[bytes], nodes: Cluster) -> None:
    values = {f"x/{number:05d}": os.urandom(2_000) for number in range(6_000)}
    store.put_many(values)
    export = subprocess.Popen(command(nodes, "export", "--prefix=x/"), stdout=subprocess.PIPE)
    assert export.stdout is not None
    head = export.stdout.read(100_000)
    nodes.kill(nodes.names[0])  # it holds two pages, and the pipe 64 KiB: far from all of it
    lines = (head + export.stdout.read()).splitlines()
    assert export.wait(60) == 0
    assert [json.loads(line)["key"] for line in lines[1:-1]] == sorted(values)
    assert json.loads(lines[-1])["count"] == len(values)
