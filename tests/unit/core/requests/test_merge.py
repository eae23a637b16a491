"""Sorted parts become one listing: nothing is told before everything ahead of it is known."""

from random import Random

import pytest

from ringkeep.core.requests.merge import END, Row, Source, first_of, merged, share_of, watermark


def row(key: bytes, value: bytes = b"") -> Row:
    return key, 1, 0, b"", value, False


def source(position: bytes, *keys: bytes) -> Source:
    made = Source(position)
    made.rows = [row(key) for key in keys]
    return made


@pytest.mark.parametrize(
    ("sources", "keys", "until"),
    [
        ([], [], END),
        ([source(END)], [], END),
        ([source(b"")], [], b""),
        ([source(END, b"b", b"d"), source(END, b"a", b"c")], [b"a", b"b", b"c", b"d"], END),
        ([source(b"c\0", b"a", b"c"), source(END, b"b", b"d")], [b"a", b"b", b"c"], b"c\0"),
        ([source(b"c\0", b"a", b"c"), source(b"b", b"aa")], [b"a", b"aa"], b"b"),
        ([source(b"b", b"a"), source(b"b", b"aa"), source(b"", b"zz")], [], b""),
        ([source(b"b", b"a", b"b")], [b"a"], b"b"),
    ],
)
def test_rows_before_the_least_position(sources: list[Source], keys: list[bytes], until: bytes) -> None:
    assert merged(sources) == ([row(key) for key in keys], until)
    assert watermark(sources) == until


def test_no_key_is_beyond_the_end() -> None:
    assert merged([source(END, b"\xff" * 1_024)])[0]


@pytest.mark.parametrize(
    ("sizes", "limit", "most_bytes", "first"),
    [
        ([], 1, 10, 0), ([0], 1, 10, 1), ([0, 0], 3, 10, 0), ([0, 0, 0], 3, 10, 3), ([0] * 9, 3, 10, 3),
        ([10], 3, 10, 1), ([9, 1, 5], 9, 10, 2), ([4, 4], 9, 10, 0), ([50, 1], 9, 10, 1),
        ([4, 4, 4], 2, 10, 2),
    ],
)  # fmt: skip
def test_a_page_is_full_by_number_or_by_bytes(
    sizes: list[int], limit: int, most_bytes: int, first: int
) -> None:
    assert (
        first_of([row(b"%d" % at, bytes(size)) for at, size in enumerate(sizes)], limit, most_bytes) == first
    )


def test_as_a_rule_nobody_must_be_asked_twice() -> None:
    random, again = Random(1), 0
    for _ in range(300):
        sources, limit = random.choice([3, 16, 85]), random.choice([100, 1_000, 4_000])
        share = share_of(limit, sources)
        found = [0] * sources
        for _ in range(limit):
            found[random.randrange(sources)] += 1
        again += max(found) > share
    assert again < 30
    assert share_of(1, 50) == 1 and share_of(0, 0) == 0
