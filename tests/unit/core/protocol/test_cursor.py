"""Cursors: positions of a feed as a text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringkeep.core.protocol.cursor import BadCursor, decode_cursor, encode_cursor
from ringkeep.core.protocol.types import Index, PartitionId

CLUSTER = "5f" * 16
some_positions = st.lists(st.integers(0, 2**63), min_size=1, max_size=70).map(
    lambda found: {PartitionId(number): Index(position) for number, position in enumerate(found)}
)


@given(some_positions)
def test_a_cursor_is_read_as_it_was_written(positions: dict[PartitionId, Index]) -> None:
    text = encode_cursor(CLUSTER, positions)
    assert decode_cursor(CLUSTER, text, len(positions)) == positions
    assert text.isascii() and text.replace("-", "").replace("_", "").isalnum(), "fit for a URL"


def test_a_cursor_of_many_partitions_is_about_one_kilobyte() -> None:
    positions = {PartitionId(number): Index(90_000 + number * 7_919 % 20_000) for number in range(256)}
    assert len(encode_cursor(CLUSTER, positions)) < 1_400


@given(st.text(max_size=60))
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(BadCursor, match="cursor"):
        decode_cursor(CLUSTER, text, 2)


@given(some_positions, st.data())
def test_a_changed_letter_is_noticed(positions: dict[PartitionId, Index], data: st.DataObject) -> None:
    text = encode_cursor(CLUSTER, positions)
    at = data.draw(st.integers(0, len(text) - 2))  # the last letter may have bits that mean nothing
    letter = data.draw(st.sampled_from("abcXYZ019-_").filter(lambda letter: letter != text[at]))
    with pytest.raises(BadCursor):
        decode_cursor(CLUSTER, text[:at] + letter + text[at + 1 :], len(positions))


def test_cursors_of_other_clusters_are_refused() -> None:
    positions = {PartitionId(0): Index(4), PartitionId(1): Index(9)}
    text = encode_cursor(CLUSTER, positions)
    for cluster, partitions in (("60" * 16, 2), (CLUSTER, 4)):
        with pytest.raises(BadCursor, match="another cluster"):
            decode_cursor(cluster, text, partitions)
