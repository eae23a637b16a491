"""The admin app: everything but the data routes, as a Starlette application.

Reads the service and answers; changes nothing. Host and Origin were checked before a request comes here.
"""

from base64 import b64encode
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from ringkeep.http import problems
from ringkeep.http.hub import Hub, log
from ringkeep.http.metrics import exposition
from ringkeep.http.openapi import document
from ringkeep.http.pages import docs_page, status_page
from ringkeep.http.problems import Problem, bad
from ringkeep.http.target import check_key, parse_query

# Pages carry their own style and no script; nothing may frame them.
_PAGE: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
_LATER: Final = ("/v1/kv", "/v1/cluster/moves", "/v1/cluster/nodes", "/v1/cluster/settings")
_NOTHING: Final[frozenset[bytes]] = frozenset()


def _json(content: Any, status: int = 200) -> Response:
    return Response(
        msgspec.json.encode(content), status, {"Cache-Control": "no-store"}, media_type="application/json"
    )


def _refuse(problem: Problem) -> Response:
    fields = [line.split(": ", 1) for line in problem.header_lines().decode("latin-1").split("\r\n") if line]
    return Response(
        problem.body(original=False), problem.kind.status, dict(fields), media_type="application/problem+json"
    )


class Admin:
    """The handlers, over one hub."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._service = hub.service

    async def index(self, request: Request) -> Response:
        """`/`: a plain page about the cluster as this node sees it."""
        _parameters(request)
        service = self._service
        address = request.headers.get("host", "127.0.0.1:8000")
        page = status_page(service.name, address, service.cluster(), service.partitions(), service.ready())
        return HTMLResponse(page, headers=_PAGE)

    async def docs(self, request: Request) -> Response:
        """`/docs`: the OpenAPI document, to read."""
        _parameters(request)
        return HTMLResponse(docs_page(document(self._version())), headers=_PAGE)

    async def openapi(self, request: Request) -> Response:
        """`/openapi.json`: the same, for programs."""
        _parameters(request)
        return _json(document(self._version()))

    async def livez(self, request: Request) -> Response:
        """`/livez`: the process runs its loop."""
        _parameters(request, "verbose")
        return Response("ok\n", media_type="text/plain")

    async def readyz(self, request: Request) -> Response:
        """`/readyz`: 200 or 503; `?verbose` says what this node waits for."""
        verbose = "verbose" in _parameters(request, "verbose")
        ready, waits_for = self._service.ready()
        lines = ["ready" if ready else "not ready"]
        if verbose:
            lines += [f"waits for: {what}" for what in waits_for]
        return Response(
            "\n".join(lines) + "\n",
            200 if ready else 503,
            {"Cache-Control": "no-store"} | ({} if ready else {"Retry-After": "1"}),
            media_type="text/plain",
        )

    async def metrics(self, request: Request) -> Response:
        """`/metrics`: Prometheus text."""
        _parameters(request)
        return Response(
            exposition(self._hub, self._service),
            headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"},
        )

    async def version(self, request: Request) -> Response:
        """`/version`."""
        _parameters(request)
        return _json(self._service.version())

    async def cluster(self, request: Request) -> Response:
        """`/v1/cluster`."""
        _parameters(request)
        return _json(self._service.cluster())

    async def partitions(self, request: Request) -> Response:
        """`/v1/cluster/partitions`."""
        _parameters(request)
        return _json(self._service.partitions())

    async def where(self, request: Request) -> Response:
        """`/v1/cluster/where?key=K`."""
        parameters = _parameters(request, "key")
        if "key" not in parameters:
            raise bad("The query parameter 'key' is missing.")
        key = check_key(parameters["key"])
        found = {
            name: value for name, value in self._service.where(key).items() if not name.startswith("key")
        }
        try:
            return _json({"key": key.decode()} | found)
        except UnicodeDecodeError:
            return _json({"key_base64": b64encode(key).decode()} | found)

    def _version(self) -> str:
        return str(self._service.version().get("version", ""))


def _parameters(request: Request, *allowed: str) -> dict[str, bytes]:
    """Return the query's parameters. Raises Problem (400) for any other than `allowed`."""
    raw: bytes = request.scope["query_string"]
    names = frozenset(name.encode() for name in allowed) if allowed else _NOTHING
    return {name.decode(): value for name, value in parse_query(raw, names).items()} if raw else {}


async def _on_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return _refuse(error)


async def _on_http(request: Request, error: Exception) -> Response:
    """404 and 405 of the router, in our form."""
    assert isinstance(error, HTTPException)
    path = request.url.path
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        allow = ", ".join(sorted((error.headers or {}).get("Allow", "GET, HEAD").split(", ")))
        return _refuse(
            Problem(
                problems.METHOD,
                f"This route does not serve that method. Nothing was applied; it serves: {allow}.",
                headers=f"Allow: {allow}\r\n".encode(),
            )
        )
    if any(path == later or path.startswith(later + "/") for later in _LATER):
        return _refuse(
            Problem(
                problems.NO_ROUTE,
                "This route comes with a later version of Ringkeep. Nothing was applied; "
                "/docs lists the routes of this one.",
            )
        )
    return _refuse(
        Problem(problems.NO_ROUTE, "There is no such route. Nothing was applied; /docs lists them.")
    )


async def _on_defect(request: Request, error: Exception) -> Response:
    log.error("a defect in the admin app", exc_info=error)
    return _refuse(
        Problem(problems.DEFECT, "The node met an internal error. Nothing was changed. Please report it.")
    )


def make_app(hub: Hub) -> Starlette:
    """Return the application for one listener."""
    admin = Admin(hub)
    routes: dict[str, Callable[[Request], Any]] = {
        "/": admin.index,
        "/docs": admin.docs,
        "/openapi.json": admin.openapi,
        "/livez": admin.livez,
        "/readyz": admin.readyz,
        "/metrics": admin.metrics,
        "/version": admin.version,
        "/v1/cluster": admin.cluster,
        "/v1/cluster/partitions": admin.partitions,
        "/v1/cluster/where": admin.where,
    }
    app = Starlette(
        routes=[Route(path, handler, methods=["GET"]) for path, handler in routes.items()],
        exception_handlers={Problem: _on_problem, HTTPException: _on_http, Exception: _on_defect},
    )
    app.router.redirect_slashes = False  # paths are never normalised
    return app
