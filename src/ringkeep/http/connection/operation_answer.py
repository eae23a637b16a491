"""What an operation on a key returns, beside key and version, as members of an answer."""

from typing import Any

from ringkeep.core.protocol.client_requests import Kind, Result, Status
from ringkeep.core.state.operations import LENGTH_ONLY
from ringkeep.http.parse.json_members import put_member


def operation_members(kind: int, result: Result) -> dict[str, Any]:
    """Return the members of the answer of an operation that was applied.

    `value` is the new one of ADD and APPEND (if it is not large), the old one of SWAP and TAKE.
    """
    members: dict[str, Any] = {}
    if kind == Kind.ADD:
        members["value"] = result.value.decode()  # text: a JSON number above 2^53 is not exact everywhere
    elif kind == Kind.APPEND:
        if result.content_type == LENGTH_ONLY:
            members["length"] = int(result.value)
        else:
            members["length"] = len(result.value)
            put_member(members, "value", result.value)
    elif kind == Kind.SWAP or kind == Kind.TAKE:
        if kind == Kind.SWAP:
            members["replaced"] = result.status is Status.REPLACED
        if result.status is not Status.CREATED:
            put_member(members, "value", result.value)
            if result.content_type:
                members["content_type"] = result.content_type.decode("latin-1")
    return members
