"""What the documents point to is there: files, headings, and the code that they name."""

import re
from pathlib import Path

import pytest
from tests.support.paths import ROOT

from ringkeep.core.protocol import limits
from ringkeep.http import limits as http

DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*.md")])
CODE = [path.relative_to(ROOT) for top in ("src", "tests", "bench", "scripts", "examples")
        for path in (ROOT / top).rglob("*.*")]  # fmt: skip

LINK = re.compile(r"\]\(([^)\s]+)\)")
FILE = re.compile(r"`([a-z][a-z0-9_./*-]*\.(?:py|sh))`")
FENCE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)


def anchors(document: Path) -> set[str]:
    """Return how a forge names the headings of a document."""
    text = FENCE.sub("", document.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    plain = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower() for heading in headings]
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    wrong = []
    for target in LINK.findall(FENCE.sub("", document.read_text(encoding="utf-8"))):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        place = (document.parent / name).resolve() if name else document
        if not place.exists() or (anchor and anchor not in anchors(place)):
            wrong.append(target)
    assert not wrong, f"{document.name} links to what is not there: {wrong}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_code_that_is_named_is_there(document: Path) -> None:
    """A path may leave out the folders above it: `core/node.py`."""
    named = FILE.findall(FENCE.sub("", document.read_text(encoding="utf-8")))
    wrong = [name for name in named if not any(path.match(name) for path in CODE)]
    assert not wrong, f"{document.name} names what is not there: {wrong}"


def test_the_limits_are_as_the_document_says() -> None:
    """The numbers that users meet, each in the row of its name."""
    text = (ROOT / "docs" / "known-limitations.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| ([^|]+?) \| (.+) \|$", text, re.MULTILINE))
    mib, kib = limits.MIB, limits.KIB
    shown: dict[str, list[int | str]] = {
        "key": [limits.KEY_BYTES],
        "value": [f"{limits.VALUE_BYTES // mib} MiB"],
        "content type, idempotency key": [limits.CONTENT_TYPE_BYTES, limits.IDEMPOTENCY_KEY_BYTES],
        "URL; header fields": [
            f"{http.TARGET_BYTES // kib} KiB", f"{http.HEADER_BYTES // kib} KiB", http.HEADER_COUNT,
        ],
        "deadline of a request": [limits.TIMEOUT_MS // 1_000, limits.MAX_TIMEOUT_MS // 1_000],
        "how long a result is kept for its `Idempotency-Key`": [limits.IDEMPOTENCY_WINDOW_MS // 60_000],
        "requests in flight": [http.IN_FLIGHT_EACH, http.IN_FLIGHT],
        "bodies over 64 KiB": [f"{http.LARGE_BODIES_BYTES // mib} MiB"],
        "writes of one partition that wait for their quorum": [
            limits.UNCOMMITTED_ENTRIES, f"{limits.UNCOMMITTED_BYTES // mib} MiB",
        ],
        "requests that wait for a primary": [
            limits.PARKED_REQUESTS, f"{limits.PARKED_BYTES // mib} MiB",
        ],
        "a partition's log while a replica is caught up": [f"{limits.PINNED_LOG_BYTES // mib} MiB"],
        "the cluster map, compressed": [
            f"{limits.MAP_GROWTH_BYTES // kib} KiB", f"{limits.MAP_BYTES // kib} KiB",
        ],
        "free disk": [f"{limits.DISK_RESERVE_BYTES // mib} MiB"],
        "moves": [limits.MOVES_AT_ONCE, f"{limits.MOVE_BYTES_PER_S // mib} MiB"],
    }  # fmt: skip
    for row, numbers in shown.items():
        for number in numbers:
            figure = f"{number:,}" if isinstance(number, int) else number
            assert re.search(rf"\b{figure}\b", rows[row]), f"{row}: {figure} is not in: {rows[row]}"
