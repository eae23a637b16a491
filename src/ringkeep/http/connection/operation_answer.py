"""What the answer of `POST /v1/kv/{key}` says: key, version, and what the operation returns."""

from typing import Any

from ringkeep.core.protocol.client_requests import Kind, Request, Result, Status
from ringkeep.core.replication.operations import LENGTH_ONLY
from ringkeep.http.parse.json_members import put_member


def operation_members(request: Request, result: Result) -> dict[str, Any]:
    """Return the members of the answer of an operation that was applied.

    `value` is the new one of ADD and APPEND (if it is not large), the old one of SWAP and TAKE.
    """
    members: dict[str, Any] = {}
    put_member(members, "key", request.key)
    members["version"] = result.version
    kind = request.kind
    if kind is Kind.ADD:
        members["value"] = result.value.decode()  # text: a JSON number above 2^53 is not exact everywhere
    elif kind is Kind.APPEND:
        if result.content_type == LENGTH_ONLY:
            members["length"] = int(result.value)
        else:
            members["length"] = len(result.value)
            put_member(members, "value", result.value)
    elif kind is Kind.SWAP or kind is Kind.TAKE:
        if kind is Kind.SWAP:
            members["replaced"] = result.status is Status.REPLACED
        if result.status is not Status.CREATED:
            put_member(members, "value", result.value)
            if result.content_type:
                members["content_type"] = result.content_type.decode("latin-1")
    return members
