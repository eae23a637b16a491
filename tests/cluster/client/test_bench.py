"""`ringkeep bench` with real nodes: it measures, counts what fails, and leaves nothing behind."""

import json
import signal
import subprocess
from typing import Any

import pytest
from tests.support.cluster.cluster import RINGKEEP, Cluster
from tests.support.wait import until

from ringkeep.client import Client

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]


def urls(nodes: Cluster) -> str:
    return ",".join(f"http://{nodes.places[name].host}:{nodes.places[name].http}" for name in nodes.names)


def command(nodes: Cluster, *words: str) -> list[str]:
    return [*RINGKEEP, "bench", "--json", "--keys=500", *words, "--endpoint", urls(nodes)]


def test_every_operation_is_measured_and_the_keys_go(nodes: Cluster) -> None:
    words = ("--mix=get=4,put=3,delete=1,batch=1", "--duration=1s", "--warm-up=500ms", "--distribution=zipf")
    done = subprocess.run(command(nodes, *words), capture_output=True, timeout=90)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert set(found["requests"]) == {"get", "put", "delete", "batch"} and not found["errors"]
    for each in found["requests"].values():
        assert 0 < each["p50_us"] <= each["p99_us"] <= each["p99.9_us"] <= each["max_us"]
    assert found["requests"]["batch"]["operations"] == 100 * found["requests"]["batch"]["count"]
    with Client(urls(nodes)) as store:
        assert store.count("ringkeep-bench-") == 0


def test_a_node_is_killed_meanwhile_and_it_is_interrupted(nodes: Cluster) -> None:
    with Client(urls(nodes)) as store:
        bench = subprocess.Popen(
            command(nodes, "--rate=400", "--duration=60s", "--warm-up=1ms", "--mix=put=1"),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        until(lambda: store.count("ringkeep-bench-") == 500, "the keys to be written")
        [first] = store.list("ringkeep-bench-", limit=1)
        until(lambda: store.get(first.key).version > first.version, "the load to begin")
        nodes.kill(nodes.names[0])
        written = store.get(first.key).version
        until(lambda: store.get(first.key).version > written, "the load to go on")
        bench.send_signal(signal.SIGINT)
        said, errors = bench.communicate(timeout=60)
        assert bench.returncode == 130, errors
        found = json.loads(said)
        assert found["all"]["count"] > 0 and "open loop of 400 requests/s" in found["about"]
        assert {each["outcome"] for each in found["errors"]} <= {"rejected", "indeterminate"}
        assert store.count("ringkeep-bench-") == 0
