"""The Python of the documents runs as it stands there, against real nodes."""

import re
from pathlib import Path

import pytest
from tests.support.cluster.cluster import HOST, Cluster
from tests.support.paths import ROOT

from ringkeep.client import Client

pytestmark = pytest.mark.cluster

BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
DOCUMENTS = [ROOT / "README.md", ROOT / "docs" / "python.md"]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_block_runs(
    nodes: Cluster, document: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = [f"http://{HOST}:{nodes.places[name].http}" for name in nodes.names]
    monkeypatch.setenv("RINGKEEP_ENDPOINTS", ",".join(found))
    blocks = BLOCK.findall(document.read_text())
    assert blocks
    with Client() as store:
        store.put("{ada}open", b"")
        for block in blocks:
            code = block.replace("http://127.0.0.1:8000", found[0]).replace("http://127.0.0.1:8010", found[1])
            exec(compile(code, str(document), "exec"), {"store": store})
    assert "there" in capsys.readouterr().out
