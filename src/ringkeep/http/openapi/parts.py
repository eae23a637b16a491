"""The pieces that the OpenAPI document is put together from: parameters, contents, answers, operations."""

from typing import Any, Final

from ringkeep.core.protocol.limits import MAX_TIMEOUT_MS
from ringkeep.http.problems import BY_STATUS, ProblemKind

Json = dict[str, Any]

LOOKS: Final = (400, 403, 500)
"""The errors of a route that only looks."""


def query(name: str, description: str, schema: Json, required: bool = False) -> Json:
    """Return a parameter of the query."""
    return {"name": name, "in": "query", "description": description, "required": required, "schema": schema}


DEADLINE: Final = query(
    "timeout",
    f"Deadline: '<int>ms' or '<int>s', up to {MAX_TIMEOUT_MS // 1_000}s; 5s by default.",
    {"type": "string", "pattern": "^[0-9]{1,9}(ms|s)$"},
)


def field(name: str, description: str, schema: Json | None = None) -> Json:
    """Return a header field of the request; text unless `schema` says otherwise."""
    return {"name": name, "in": "header", "description": description, "schema": schema or {"type": "string"}}


def json_of(schema: str) -> Json:
    """Return JSON content of a named schema."""
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}


def answers(
    success: dict[int, Json], errors: tuple[int, ...], problem: str = "Problem", *instead: ProblemKind
) -> Json:
    """Return the answers of an operation. `instead`: kinds that their status stands for on this route."""
    found: Json = {str(status): answer for status, answer in success.items()}
    kinds = BY_STATUS | {kind.status: kind for kind in instead}
    for status in errors:
        content = {"application/problem+json": {"schema": {"$ref": f"#/components/schemas/{problem}"}}}
        found[str(status)] = {"description": kinds[status].title, "content": content}
    return found


def good(description: str, content: Json | None = None, headers: Json | None = None) -> Json:
    """Return one answer that is no error."""
    answer: Json = {"description": description}
    if content:
        answer["content"] = content
    if headers:
        answer["headers"] = headers
    return answer


def get(
    name: str, summary: str, content: Json, parameters: list[Json] | None = None, errors: Json | None = None
) -> Json:
    """Return a path that is only read."""
    operation: Json = {
        "operationId": name,
        "summary": summary,
        "responses": answers({200: good("The answer.", content)}, LOOKS) | (errors or {}),
    }
    if parameters:
        operation["parameters"] = parameters
    return {"get": operation}
