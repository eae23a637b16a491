"""The admin app: everything but the data routes, as a Starlette application.

Here are the routes that look inside, and what becomes of errors; `operator_routes` has those that change
something. Host and Origin were checked before a request comes here.
"""

import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from ringkeep.errors import NoSuchNode, Refusal, Unavailable
from ringkeep.http import problems
from ringkeep.http.admin.change_routes import ChangeStreams
from ringkeep.http.admin.docs_page import docs_page
from ringkeep.http.admin.listing_routes import ListingRoutes
from ringkeep.http.admin.metrics import ListenerNumbers, exposition
from ringkeep.http.admin.operator_routes import OperatorRoutes
from ringkeep.http.admin.responses import json_answer, parameters_of, problem_answer
from ringkeep.http.admin.status_page import status_page
from ringkeep.http.openapi.document import document
from ringkeep.http.openapi.examples import ADDRESS
from ringkeep.http.parse.json_members import put_member
from ringkeep.http.parse.target import parse_key
from ringkeep.http.problems import UNKNOWN, Problem, wrong_method
from ringkeep.http.routes import MOVES_PATH
from ringkeep.http.service import Service

log = logging.getLogger("ringkeep.http")

# Pages carry their own style and no script; nothing may frame them.
_PAGE: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


class Admin:
    """The handlers, over one service."""

    def __init__(self, service: Service, listener: ListenerNumbers) -> None:
        self._service = service
        self._listener = listener

    async def index(self, request: Request) -> Response:
        """`/`: a plain page about the cluster as this node sees it."""
        parameters_of(request)
        service = self._service
        address = request.headers.get("host", ADDRESS)
        page = status_page(service.name, address, service.cluster(), service.partitions(), service.ready())
        return HTMLResponse(page, headers=_PAGE)

    async def docs(self, request: Request) -> Response:
        """`/docs`: the OpenAPI document, to read."""
        parameters_of(request)
        address = "http://" + request.headers.get("host", ADDRESS)
        return HTMLResponse(docs_page(document(self._version()), address), headers=_PAGE)

    async def openapi(self, request: Request) -> Response:
        """`/openapi.json`: the same, for programs."""
        parameters_of(request)
        return json_answer(document(self._version()))

    async def livez(self, request: Request) -> Response:
        """`/livez`: the process runs its loop."""
        parameters_of(request, "verbose")
        return Response("ok\n", media_type="text/plain")

    async def readyz(self, request: Request) -> Response:
        """`/readyz`: 200 or 503; `?verbose` says what this node waits for."""
        verbose = "verbose" in parameters_of(request, "verbose")
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
        parameters_of(request)
        return Response(
            exposition(self._listener, self._service),
            headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"},
        )

    async def version(self, request: Request) -> Response:
        """`/version`."""
        parameters_of(request)
        return json_answer(self._service.version())

    async def cluster(self, request: Request) -> Response:
        """`/v1/cluster`."""
        parameters_of(request)
        return json_answer(self._service.cluster())

    async def partitions(self, request: Request) -> Response:
        """`/v1/cluster/partitions`."""
        parameters_of(request)
        return json_answer(self._service.partitions())

    async def where(self, request: Request) -> Response:
        """`/v1/cluster/where?key=K`."""
        key = parse_key(parameters_of(request, "key").get("key"))
        members: dict[str, Any] = {}
        put_member(members, "key", key)
        return json_answer(members | self._service.where(key))

    def _version(self) -> str:
        return str(self._service.version().get("version", ""))


async def _on_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return problem_answer(error)


async def _on_http(request: Request, error: Exception) -> Response:
    """404 and 405 of the router, in our form."""
    assert isinstance(error, HTTPException)
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        allow = ", ".join(sorted((error.headers or {}).get("Allow", "GET, HEAD").split(", ")))
        return problem_answer(wrong_method(allow))
    return problem_answer(
        Problem(problems.NO_ROUTE, "There is no such route. Nothing was applied; /docs lists them.")
    )


async def _on_refusal(request: Request, error: Exception) -> Response:
    """An order that the cluster does not carry out, or an operation that nobody can serve just now."""
    kind = problems.REFUSED
    if isinstance(error, Unavailable):
        kind = problems.UNAVAILABLE
    elif isinstance(error, NoSuchNode):
        kind = problems.NO_SUCH_NODE
    return problem_answer(Problem(kind, f"{str(error).rstrip('.')}. Nothing was applied."))


async def _on_defect(request: Request, error: Exception) -> Response:
    log.error("a defect in the admin app", exc_info=error)
    if request.method in ("GET", "HEAD"):
        return problem_answer(
            Problem(problems.DEFECT, "The node met an internal error. Nothing was changed. Please report it.")
        )
    return problem_answer(
        Problem(
            problems.DEFECT,
            "The node met an internal error. It is unknown whether the order was accepted; check "
            f"{MOVES_PATH} before you repeat it. Please report it.",
            outcome=UNKNOWN,
        )
    )


def make_app(service: Service, listener: ListenerNumbers, streams: ChangeStreams) -> Starlette:
    """Return the application; `listener` is the one that it is behind."""
    admin = Admin(service, listener)
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
        routes=[
            *(Route(path, handler, methods=["GET"]) for path, handler in routes.items()),
            *ListingRoutes(service).routes(),
            *streams.routes(),
            *OperatorRoutes(service).routes(),
        ],
        exception_handlers={
            Problem: _on_problem,
            Refusal: _on_refusal,
            Unavailable: _on_refusal,
            HTTPException: _on_http,
            Exception: _on_defect,
        },
    )
    app.router.redirect_slashes = False  # paths are never normalised
    return app
