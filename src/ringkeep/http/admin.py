"""The admin app: everything but the data routes, as a Starlette application.

Reads the service and answers; changes nothing. Host and Origin were checked before a request comes here.
"""

from starlette.applications import Starlette
from starlette.types import ASGIApp

from ringkeep.http.hub import Hub


def make_app(hub: Hub) -> ASGIApp:
    """Return the application for one listener."""
    return Starlette()
