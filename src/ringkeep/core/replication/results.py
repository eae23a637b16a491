"""Answers of writes that are applied: the first result, also to a copy that comes later."""

from typing import Protocol

from ringkeep.core.protocol.client_requests import Status
from ringkeep.core.protocol.hot_messages import RETRY
from ringkeep.core.protocol.record import value_at
from ringkeep.core.replication.pending import Call
from ringkeep.core.replication.replica import Replica
from ringkeep.core.state.operations import has_result


class Answering(Protocol):
    """What answers need of a primary."""

    replica: Replica

    def answer(
        self,
        call: Call,
        status: int,
        version: int = 0,
        value: bytes = b"",
        content_type: bytes = b"",
        detail: str = "",
    ) -> None:
        """Answer a request's coordinator."""


def answer_known(primary: Answering, call: Call, status: int, version: int) -> None:
    """Answer a write with what the de-duplication table knows of it, and with the result that was kept."""
    if status < 0:
        primary.answer(call, RETRY)
        return
    result: bytes | None = b"\0" + call.result if call.result else b""
    if not result and has_result(call.message.kind, status):
        result = _kept(primary.replica, call, version)
    if result is None:
        detail = "the write was applied, and its result is not kept any more"
        primary.answer(call, Status.UNKNOWN, detail=detail)
    else:
        answer_with(primary, call, status, version, result)


def answer_with(primary: Answering, call: Call, status: int, version: int, result: bytes) -> None:
    """Answer with a result, which is a tail, or b"" for none."""
    if result:
        at = value_at(result)
        primary.answer(call, status, version, result[at:], result[1:at])
    else:
        primary.answer(call, status, version)


def _kept(replica: Replica, call: Call, version: int) -> bytes | None:
    """Return the kept result of a write, None if it is forgotten."""
    message, state = call.message, replica.state
    if not message.idempotency:
        return state.result(version)
    kept = state.find_result(message.key, message.idempotency, 0)
    return kept.result if kept is not None and kept.version == version else None
