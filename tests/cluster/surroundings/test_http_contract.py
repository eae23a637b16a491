"""The tests of the HTTP interface, against a real node that coordinates for others."""

import os
import re
import subprocess
import sys

import pytest
from tests.support.cluster.cluster import HOST, Cluster
from tests.support.paths import ROOT

pytestmark = pytest.mark.cluster
MANY = 150  # so many of them need no forced status, and hold for any node


@pytest.mark.timeout(300)
def test_a_running_node_passes_the_tests_of_its_interface(nodes: Cluster) -> None:
    name = nodes.names[-1]
    environment = os.environ | {"RINGKEEP_TEST_URL": f"http://{HOST}:{nodes.places[name].http}"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/http"]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=280
    )
    passed = re.search(r"(\d+) passed", done.stdout)
    assert done.returncode == 0, done.stdout[-6000:]
    assert passed is not None and int(passed[1]) >= MANY, done.stdout[-2000:]
    assert nodes.put(name, b"still", b"here").status in (200, 201)


def test_every_metric_is_explained(nodes: Cluster) -> None:
    text = nodes.request(nodes.names[0], "GET", "/metrics").body.decode()
    families = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE ")}
    document = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
    explained = set(re.findall(r"[`{,]([a-z_]+)(?:\{[a-z,]*\})?`", document))
    missing = {name for name in families if name.removeprefix("ringkeep_") not in explained}
    assert not missing, f"docs/monitoring.md says nothing of {sorted(missing)}"
    known = {name.removeprefix("ringkeep_") for name in families}
    stale = set(re.findall(r"^\| `([a-z_]+)", document, re.MULTILINE)) - known
    assert not stale, f"docs/monitoring.md explains {sorted(stale)}, which no node has"
