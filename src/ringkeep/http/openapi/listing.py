"""`/v1/kv` in the OpenAPI document: listing, counting, and deleting by prefix."""

from typing import Final

from ringkeep.core.protocol.limits import KEY_BYTES, LISTED_KEYS
from ringkeep.http.openapi.parts import DEADLINE, Json, answers, field, good, json_of, query
from ringkeep.http.parse.listing import UNTIL, USUAL_LIMIT

_PART: Final = {"type": "string", "maxLength": KEY_BYTES}
_SWITCH: Final = {"type": "boolean"}
_RANGE: Final = [
    query("prefix", "Keys that begin with this.", _PART),
    query("after", "Keys after this one, in byte order; it need not exist.", _PART),
    query("before", "Keys before this one.", _PART),
]


def _limit(description: str, usual: int, least: int = 1) -> Json:
    schema = {"type": "integer", "minimum": least, "maximum": LISTED_KEYS, "default": usual}
    return query("limit", description, schema)


def listing_paths() -> Json:
    """Return the path."""
    lines = {"application/x-ndjson": {"schema": {"$ref": "#/components/schemas/Item"}}}
    listed = "A page of keys; or, for `Accept: application/x-ndjson`, one line for each, and a last one."
    return {
        "/v1/kv": {
            "get": {
                "operationId": "list",
                "summary": "List keys in byte order, over all partitions.",
                "parameters": [
                    *_RANGE,
                    _limit("At most so many keys; a stream of lines has no limit of its own.", USUAL_LIMIT),
                    query("values", "With their values; a page then ends after about 1 MiB.", _SWITCH),
                    query("count", "Only count the keys of the range.", _SWITCH),
                    DEADLINE,
                ],
                "responses": answers(
                    {200: good(listed, json_of("Page") | lines)}, (400, 403, 408, 414, 429, 431, 500, 503)
                ),
            },
            "delete": {
                "operationId": "deleteRange",
                "summary": "Delete the keys of a prefix, as they were when it began.",
                "parameters": [
                    *_RANGE,
                    _limit("At most so many keys in one request; 0: only say `until`.", LISTED_KEYS, least=0),
                    query("all", "Needed where no prefix is given.", _SWITCH),
                    query("until", "From an earlier answer: leave what is newer.", {"type": "string"}),
                    field(UNTIL, "The same as `until`, where that is too long for a URL."),
                    DEADLINE,
                ],
                "responses": answers(
                    {200: good("How far it came.", json_of("RangeDeleted"))},
                    (400, 403, 408, 414, 429, 431, 500, 503, 504, 507),
                ),
            },
        }
    }
