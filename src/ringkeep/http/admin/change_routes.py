"""`/v1/changes`: every committed change of the keys with a prefix, as a stream that goes on until its reader
leaves. This node may end it when it stops; a reader comes back with its cursor, to this node or another.
"""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ringkeep.core.protocol.types import Index, PartitionId
from ringkeep.http import problems
from ringkeep.http.admin.change_stream import EVENTS, LINES, ChangeStream
from ringkeep.http.admin.responses import parameters_of
from ringkeep.http.parse.changes import PARAMETERS, parse_body, parse_wanted
from ringkeep.http.parse.positions import positions_of
from ringkeep.http.problems import Problem
from ringkeep.http.routes import CHANGES_PATH
from ringkeep.http.service import Service

_HEADERS: Final = {"Cache-Control": "no-store"}


class ChangeStreams:
    """The streams of one listener that are open."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._open: dict[ChangeStream, None] = {}
        self._ended = False

    def routes(self) -> list[Route]:
        """Return the routes with their methods."""
        return [Route(CHANGES_PATH, self.changes, methods=["GET", "POST"])]

    async def changes(self, request: Request) -> Response:
        """`/v1/changes`."""
        if request.method == "POST":
            parameters_of(request)
            wanted = parse_body(await request.body())
        else:
            wanted = parse_wanted(parameters_of(request, *PARAMETERS), request.headers)
        reason = self._service.serving()
        if self._ended:
            reason = "it is stopping"
        if reason is not None:
            raise Problem(
                problems.UNAVAILABLE, f"This node does not serve now: {reason}. Nothing was read; try again."
            )
        positions: dict[PartitionId, Index] | None = None
        if wanted.after:
            found = positions_of(*self._service.partitioning(), wanted.place, wanted.after)
            positions = {PartitionId(number): Index(each) for number, each in enumerate(found)}
        lines = LINES in request.headers.get("accept", "")
        if request.method == "HEAD":
            return Response(headers=_HEADERS, media_type=LINES if lines else EVENTS)
        stream = ChangeStream(
            self._service, wanted.prefix, wanted.values, positions, lines, lambda: self._open.pop(stream)
        )
        self._open[stream] = None
        await stream.begin()
        return stream

    def end(self) -> None:
        """This node stops: end all streams, so that their readers go on elsewhere."""
        self._ended = True
        for stream in list(self._open):
            stream.end()
