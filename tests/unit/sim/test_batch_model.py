"""What the reference model of atomic batches says of their bound under a client's own key."""

from ringkeep.core.protocol.batch import Step
from ringkeep.core.protocol.client_requests import Kind, Status
from ringkeep.sim.operations.batch_model import Batched, decide_batch
from ringkeep.sim.operations.calls import Call
from ringkeep.sim.operations.model import KEPT_BYTES, Record

HALF = KEPT_BYTES // 2 - 1  # with the length of its content type it is a half


def the_end_of(name: bytes, old_bytes: int, *, goes_on: bool = False) -> Batched:
    """Of two swaps and a put; the first swap answers half of the bound, the second so many bytes."""
    steps = [Step(Kind.SWAP, key, b"new") for key in (b"a", b"b")] + [Step(Kind.PUT, b"c", b"v")]
    call = Call(0, Kind.BATCH, b"a", b"", b"", 0, 0, False, 0, name, 1, 1, steps=steps, goes_on=goes_on)
    records = {b"a": Record(1, b"x" * HALF, b""), b"b": Record(2, b"y" * old_bytes, b"")}
    return decide_batch(records, call, 7, 0, 0)


def test_a_batch_that_answers_just_what_is_kept_is_done() -> None:
    batch = the_end_of(b"key", HALF)
    assert batch.status is Status.DONE and set(batch.after) == {b"a", b"b", b"c"}


def test_the_step_with_which_it_is_too_much_ends_the_batch() -> None:
    for goes_on in (False, True):
        batch = the_end_of(b"key", HALF + 1, goes_on=goes_on)
        assert batch.status is Status.TOO_LARGE and not batch.after
        assert [each.status for each in batch.outcomes] == [Status.REPLACED, Status.TOO_LARGE]


def test_without_a_key_nothing_is_kept() -> None:
    assert the_end_of(b"", HALF + 1).status is Status.DONE
