"""Batches: in which requests operations go, and what becomes of their results."""

import pytest

from ringkeep.client import Indeterminate, Invalid, NotFound, Unavailable, Unreadable
from ringkeep.client.calls.batches import MOST, Steps, raise_gravest
from ringkeep.client.calls.exchange import Response
from ringkeep.client.codecs import JSON, RAW


def answered(results: str) -> Response:
    return Response(200, {}, b'{"results":[%b]}' % results.encode())


def test_operations_on_a_key_stay_in_order() -> None:
    steps = Steps(RAW)
    for number in range(MOST + 1):
        steps.put("k", b"%d" % number)
        steps.put("other", b"")
    places = iter(range(10))
    groups = steps.parts(lambda key: next(places))
    assert [len(group) for group in groups] == [2, 2], "a list for each place, though the place changes"


def test_one_idempotency_key_is_for_one_request() -> None:
    steps = Steps(RAW)
    steps.put("k", b"")
    steps.put("l", b"")
    [[part]] = steps.parts(lambda key: key, "mine")
    assert part.call.request.idempotency_key == "mine"
    for _ in range(MOST):
        steps.put("k", b"")
    with pytest.raises(ValueError, match="more than one request"):
        steps.parts(lambda key: key, "mine")


def test_what_was_known_is_not_forgotten_when_a_later_request_fails() -> None:
    steps = Steps(RAW)
    done, open_, gone = steps.put("k", b""), steps.put("l", b""), steps.delete("m")
    [[part]] = steps.parts(lambda key: "")
    assert part.unfinished
    part.call.read(answered('{"status":201,"version":7},{"status":504,"outcome":"unknown"},{"status":404}'))
    assert part.unfinished
    part.fail(Unavailable("nobody answers"))
    assert done.result().version == 7 and gone.result() is False
    with pytest.raises(Indeterminate) as raised:
        open_.result()
    assert raised.value.idempotency_key == part.call.request.idempotency_key


def test_a_request_that_is_wrong_is_not_sent_again() -> None:
    steps = Steps(RAW)
    handle = steps.put("k", b"")
    [[part]] = steps.parts(lambda key: "")
    part.fail(Unavailable("nobody answers"))
    assert part.unfinished
    part.fail(Invalid("a key is too long"))
    assert not part.unfinished
    with pytest.raises(Invalid):
        handle.result()


def test_the_gravest_error_is_raised() -> None:
    steps = Steps(RAW)
    handles = [steps.put(key, b"") for key in "abc"]
    [[part]] = steps.parts(lambda key: "")
    part.call.read(answered('{"status":503},{"status":504,"outcome":"unknown"},{"status":201,"version":1}'))
    with pytest.raises(Indeterminate):
        raise_gravest(handles)


def test_a_removed_value_that_is_not_read_is_handed_over() -> None:
    steps = Steps(JSON)
    taken, absent = steps.take("k"), steps.take("l")
    [[part]] = steps.parts(lambda key: "")
    part.call.read(answered('{"status":200,"version":9,"value":"{","content_type":"a/b"},{"status":404}'))
    with pytest.raises(Unreadable) as raised:
        taken.result()
    assert (raised.value.data, raised.value.content_type, raised.value.version) == (b"{", "a/b", 9)
    with pytest.raises(NotFound):
        absent.result()
