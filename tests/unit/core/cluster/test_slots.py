"""The slot function is that of Redis Cluster: the expected values are its documentation's."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringkeep.core.cluster.slots import MOST, SLOTS, default_partitions, partition_of, slot_of


@pytest.mark.parametrize(
    ("key", "slot"),
    [
        (b"123456789", 12_739),  # the check value of CRC16 XMODEM, 0x31c3
        (b"", 0),
        (b"foo", 12_182),
        (b"bar", 5_061),
        (b"hello", 866),
    ],
)
def test_known_slots(key: bytes, slot: int) -> None:
    assert slot_of(key) == slot


@pytest.mark.parametrize(
    ("key", "hashed"),
    [
        (b"{user1000}.following", b"user1000"),
        (b"{user1000}.followers", b"user1000"),
        (b"foo{{bar}}zap", b"{bar"),  # the first { and the first } after it
        (b"foo{bar}{zap}", b"bar"),  # only the first tag
        (b"}foo{bar}", b"bar"),  # a } before the { ends nothing
    ],
)
def test_only_the_hash_tag_is_hashed(key: bytes, hashed: bytes) -> None:
    assert slot_of(key) == slot_of(hashed)
    assert slot_of(key) == reference_slot(key)


@pytest.mark.parametrize("key", [b"foo{}{bar}", b"{}", b"{", b"}", b"foo{bar", b"foo}bar{"])
def test_without_a_tag_the_whole_key_is_hashed(key: bytes) -> None:
    assert slot_of(key) == crc16(key) % SLOTS


def crc16(data: bytes) -> int:
    """CRC16 XMODEM, bit by bit."""
    crc = 0
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xFFFF
    return crc


def reference_slot(key: bytes) -> int:
    """The rule as the Redis Cluster specification writes it, character by character."""
    for start in range(len(key)):
        if key[start] == ord("{"):
            for end in range(start + 1, len(key)):
                if key[end] == ord("}"):
                    tag = key[start + 1 : end]
                    return crc16(tag or key) % SLOTS
            break
    return crc16(key) % SLOTS


@settings(max_examples=200, derandomize=True)
@given(st.lists(st.sampled_from([b"{", b"}", b"a", b"\x00", b"\xff"]), max_size=12))
def test_slots_agree_with_the_specification(parts: list[bytes]) -> None:
    key = b"".join(parts)
    assert slot_of(key) == reference_slot(key)


@pytest.mark.parametrize("partitions", [1, 2, 256, 4_096, SLOTS])
def test_every_partition_is_a_contiguous_range_of_slots(partitions: int) -> None:
    keys = {slot_of(key): key for key in (b"%d" % number for number in range(60_000))}
    in_slot_order = [partition_of(keys[slot], partitions) for slot in sorted(keys)]
    assert in_slot_order == sorted(in_slot_order)
    assert in_slot_order[0] == 0 or partitions == SLOTS
    assert in_slot_order[-1] == partitions - 1 or partitions == SLOTS
    assert all(partition_of(key, partitions) == slot * partitions // SLOTS for slot, key in keys.items())


@pytest.mark.parametrize(
    ("expect", "partitions"),
    [(1, 64), (3, 64), (4, 64), (5, 128), (8, 128), (9, 256), (17, 512), (1_000, 4_096)],
)
def test_as_many_partitions_as_divide_evenly(expect: int, partitions: int) -> None:
    assert default_partitions(expect) == partitions
    assert MOST >= partitions >= min(16 * expect, MOST)
