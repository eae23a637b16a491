"""The operator's routes: orders about moves, nodes and settings, plans, and recovery.

Each reads the request, gives the order to the service, and answers; an order is only accepted here (202), and
carried out by the controller. What the service refuses becomes a problem in `app`.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, Literal

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ringkeep.http.admin.responses import json_answer, parameters_of
from ringkeep.http.parse import operator_requests
from ringkeep.http.parse.header_fields import check_charset, check_encoding
from ringkeep.http.routes import HOLDS, MOVES_PATH, NODE_ORDERS, NODES_PATH, RECOVER_PATH, SETTINGS_PATH
from ringkeep.http.service import Service

_ACCEPTED: Final = 202

Handler = Callable[[Request], Awaitable[Response]]


class OperatorRoutes:
    """The handlers, over one service."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def routes(self) -> list[Route]:
        """Return the routes with their methods; HEAD goes with GET by itself."""
        gets: dict[str, Handler] = {
            MOVES_PATH: self.moves,
            "/v1/cluster/plan": self.plan,
            "/v1/cluster/copy": self.copy,
        }
        posts: dict[str, Handler] = {RECOVER_PATH: self.recover}
        for verb in HOLDS:
            posts[f"{MOVES_PATH}/{verb}"] = partial(self.hold, verb=verb)
        for verb in NODE_ORDERS:
            posts[f"{NODES_PATH}/{{name}}/{verb}"] = partial(self.order, verb=verb)
        return [
            *(Route(path, handler, methods=["GET"]) for path, handler in gets.items()),
            *(Route(path, handler, methods=["POST"]) for path, handler in posts.items()),
            Route(SETTINGS_PATH, self.settings, methods=["GET", "PATCH"]),
        ]

    async def moves(self, request: Request) -> Response:
        """`GET /v1/cluster/moves`: what is planned, under way and finished."""
        parameters_of(request)
        return json_answer(self._service.moves())

    async def hold(self, request: Request, verb: Literal["pause", "resume", "cancel"]) -> Response:
        """`POST /v1/cluster/moves/pause`, `resume`, `cancel`."""
        parameters_of(request)
        operator_requests.parse_nothing(await _body(request))
        return json_answer(self._service.hold_moves(verb), _ACCEPTED)

    async def order(self, request: Request, verb: str) -> Response:
        """`POST /v1/cluster/nodes/{name}/drain`, `undrain`, `decommission`, `weight`, `forget`."""
        parameters = parameters_of(request, *(("dead",) if verb == "decommission" else ()))
        body = await _body(request)
        name = operator_requests.node_name(request.scope["raw_path"])
        weight = 0
        if verb == "weight":
            weight = operator_requests.parse_weight(body)
        elif verb == "decommission":
            verb = "give-up" if operator_requests.parse_dead(body, parameters) else verb
        else:
            operator_requests.parse_nothing(body)
        return json_answer({"node": self._service.steer(verb, name, weight), "watch": MOVES_PATH}, _ACCEPTED)

    async def settings(self, request: Request) -> Response:
        """`GET` and `PATCH /v1/cluster/settings`."""
        parameters_of(request)
        if request.method != "PATCH":
            return json_answer({"settings": self._service.cluster()["settings"]})
        wanted = operator_requests.parse_settings(await _body(request))
        return json_answer(
            {"settings": self._service.change_settings(wanted), "watch": MOVES_PATH}, _ACCEPTED
        )

    async def plan(self, request: Request) -> Response:
        """`GET /v1/cluster/plan`: what a join or a leave would move, without moving it."""
        wanted = operator_requests.parse_plan(parameters_of(request, "join", "leave", "zone", "weight"))
        return json_answer(self._service.plan(*wanted))

    async def recover(self, request: Request) -> Response:
        """`POST /v1/cluster/recover`: recover partitions with their best copies."""
        parameters_of(request)
        wanted = operator_requests.parse_recover(await _body(request))
        return json_answer(self._service.recover_partitions(*wanted), _ACCEPTED)

    async def copy(self, request: Request) -> Response:
        """`GET /v1/cluster/copy`: this node's copy of the map, and its promises, for `recover map`."""
        parameters_of(request)
        return json_answer(self._service.map_copy())


async def _body(request: Request) -> bytes:
    """Return the body. Raises Problem (415) for one that is encoded, or no UTF-8 by its own word."""
    headers = request.headers
    check_encoding(headers.get("content-encoding", "").encode("latin-1"))
    check_charset(headers.get("content-type", "").encode("latin-1"))
    return await request.body()
