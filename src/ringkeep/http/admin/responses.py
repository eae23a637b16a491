"""Shared by the handlers of the admin app: reading a query, JSON answers, problem answers."""

from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ringkeep.http.parse.target import parse_query
from ringkeep.http.problems import Problem

_NOTHING: Final[frozenset[bytes]] = frozenset()


def json_answer(content: Any, status: int = 200) -> Response:
    """Return an answer that nobody may keep: it is out of date soon."""
    return Response(
        msgspec.json.encode(content), status, {"Cache-Control": "no-store"}, media_type="application/json"
    )


def problem_answer(problem: Problem) -> Response:
    """Return the answer that a problem stands for."""
    fields = [line.split(": ", 1) for line in problem.header_lines().decode("latin-1").split("\r\n") if line]
    return Response(
        problem.body(original=False), problem.kind.status, dict(fields), media_type="application/problem+json"
    )


def parameters_of(request: Request, *allowed: str) -> dict[str, bytes]:
    """Return the query's parameters. Raises Problem (400) for any other than `allowed`."""
    raw: bytes = request.scope["query_string"]
    names = frozenset(name.encode() for name in allowed) if allowed else _NOTHING
    return {name.decode(): value for name, value in parse_query(raw, names).items()} if raw else {}
