"""The page of `/docs`: the OpenAPI document, to read. Everything but the markup here is escaped."""

import json
from collections.abc import Iterator
from html import escape
from typing import Any, Final

from ringkeep.http.admin.markup import page, table
from ringkeep.http.openapi.examples import EXAMPLES
from ringkeep.http.openapi.parts import Json
from ringkeep.http.problems import KINDS

_DEPTH: Final = 4  # of members within members: deeper ones are named by their schema


def docs_page(document: Json, address: str) -> str:
    """Return the page. `address` is where the reader reached this node; the examples name it."""
    info = document["info"]
    schemas = document["components"]["schemas"]
    parts = [f"<h1>{escape(info['title'])}</h1><p>{escape(info['description'])}</p>"]
    operations = [
        (path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    links = [
        f'<li><a href="#{operation["operationId"]}"><code>{method.upper()} {escape(path)}</code></a> '
        f"{escape(operation['summary'])}</li>"
        for path, method, operation in operations
    ]
    parts.append(f"<ul>{''.join(links)}</ul>")
    parts += [_operation(path, method, operation, schemas, address) for path, method, operation in operations]
    parts.append(_problems(schemas))
    return page("Ringkeep API", "".join(parts))


def _operation(path: str, method: str, operation: Json, schemas: Json, address: str) -> str:
    name = operation["operationId"]
    parameters = [
        [_code(each["name"]), escape(each["in"]), escape(each.get("description", ""))]
        for each in operation.get("parameters", [])
    ]
    example = EXAMPLES[name]
    return (
        f'<h2 id="{name}"><span class="method">{escape(method.upper())}</span> {_code(path)}</h2>'
        f"<p>{escape(operation['summary'])}</p>"
        f"<pre>{escape(example.command.replace('{node}', address))}</pre><pre>{escape(example.answer)}</pre>"
        + (table(("parameter", "in", "meaning"), parameters) if parameters else "")
        + _body(operation.get("requestBody"), schemas)
        + _answers(operation["responses"], schemas)
    )


def _body(body: Json | None, schemas: Json) -> str:
    if body is None:
        return ""
    described = escape(body.get("description", "" if body.get("required") else "It may be left out."))
    return f"<h3>Body</h3><p>{described}</p>" + _contents(body["content"], schemas)


def _answers(responses: Json, schemas: Json) -> str:
    """Return all answers; of those that are no errors also what is in them."""
    rows = [[escape(status), escape(answer["description"])] for status, answer in responses.items()]
    shown = [
        f"<h3>{escape(status)}</h3>{_headers(answer)}{_contents(answer.get('content', {}), schemas)}"
        for status, answer in responses.items()
        if answer.get("headers")
        or ("content" in answer and "application/problem+json" not in answer["content"])
    ]
    return "<h3>Answers</h3>" + table(("status", "meaning"), rows) + "".join(shown)


def _headers(answer: Json) -> str:
    rows = [
        [_code(name), escape(header.get("description", ""))]
        for name, header in answer.get("headers", {}).items()
    ]
    return table(("header", "meaning"), rows) if rows else ""


def _contents(contents: Json, schemas: Json) -> str:
    parts = []
    for kind, content in contents.items():
        rows = [
            [_code(name), escape(said), escape(meaning)]
            for name, said, meaning in _members(content["schema"], schemas)
        ]
        parts.append(f"<p>{_code(kind)}</p>" + (table(("member", "type", "meaning"), rows) if rows else ""))
        shown = [json.dumps(each["value"]) for each in content.get("examples", {}).values()]
        if shown:
            parts.append(f"<pre>{escape(chr(10).join(shown))}</pre>")
    return "".join(parts)


def _members(schema: Json, schemas: Json, prefix: str = "", depth: int = 0) -> Iterator[tuple[str, str, str]]:
    """Yield (name, type, meaning) of every member of an object, those within it after it."""
    schema = _resolved(schema, schemas)
    for name, member in schema.get("properties", {}).items():
        member = _resolved(member, schemas)
        inner = _resolved(member["items"], schemas) if "items" in member else member
        many = "[]" if "items" in member else ""
        meaning = str(member.get("description") or inner.get("description") or "")
        yield f"{prefix}{name}{many}", _type(inner), meaning
        if depth < _DEPTH:
            yield from _members(inner, schemas, f"{prefix}{name}{many}.", depth + 1)


def _resolved(schema: Json, schemas: Json) -> Json:
    reference = schema.get("$ref")
    return schemas[reference.rpartition("/")[2]] if reference else schema


def _type(schema: Json) -> str:
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    if "const" in schema:
        return str(schema["const"]).lower() if isinstance(schema["const"], bool) else str(schema["const"])
    if "oneOf" in schema:
        return " | ".join(map(_type, schema["oneOf"]))
    if schema.get("contentEncoding") == "base64":
        return "base64"
    kind: Any = schema.get("type", "any")
    if kind == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return " | ".join(kind) if isinstance(kind, list) else str(kind)


def _problems(schemas: Json) -> str:
    rows = [
        [f'<span id="{kind.slug}">{kind.slug}</span>', str(kind.status), escape(kind.title)]
        for kind in sorted(KINDS, key=lambda kind: kind.status)
    ]
    members = [
        [_code(name), escape(said), escape(meaning)]
        for name, said, meaning in _members(schemas["Problem"], schemas)
    ]
    return (
        "<h2>Problems</h2><p>Errors are <code>application/problem+json</code>; <code>outcome</code> says "
        "whether a write was applied: <code>not-applied</code> (and never will be), "
        "or <code>unknown</code>.</p>"
        + table(("type", "status", "title"), rows)
        + table(("member", "type", "meaning"), members)
    )


def _code(text: str) -> str:
    return f"<code>{escape(text)}</code>"
