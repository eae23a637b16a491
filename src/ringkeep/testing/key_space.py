"""What one node and a cluster have in common: endpoints, clients for them, and keys that can be cleared."""

import http.client
import json
import time
from base64 import b64decode
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote_from_bytes, urlsplit

if TYPE_CHECKING:
    from ringkeep.client import AsyncClient, Client

CLEAR_S: Final = 30.0
PAUSE_S: Final = 0.02


class KeySpace:
    """Everything that is stored behind some endpoints."""

    _follow = True
    """Whether its clients also ask nodes that they learn of."""

    def __init__(self) -> None:
        self._clients: list[Client[Any]] = []

    @property
    def endpoints(self) -> list[str]:
        """URLs like "http://127.0.0.1:8000": for `Client`, RINGKEEP_ENDPOINTS, and any HTTP client."""
        raise NotImplementedError

    def client(self, *, timeout: float = 5.0) -> "Client[bytes]":
        """Return a client, which `close_clients` closes; for other values than bytes: `with_codec`."""
        from ringkeep.client import Client

        made = Client(self.endpoints, timeout=timeout, follow=self._follow)
        self._clients.append(made)
        return made

    def async_client(self, *, timeout: float = 5.0) -> "AsyncClient[bytes]":
        """Return a client for the event loop that it is used in: use it as a context, or close it."""
        from ringkeep.client import AsyncClient

        return AsyncClient(self.endpoints, timeout=timeout, follow=self._follow)

    def close_clients(self) -> None:
        """Close every client that `client` has returned."""
        while self._clients:
            self._clients.pop().close()

    def clear(self) -> None:
        """Delete every key. What is written meanwhile may stay. Raises RuntimeError if that does not succeed
        within 30 s: some partition is not served."""
        deadline = time.monotonic() + CLEAR_S
        while True:
            try:
                self._delete_all()
                return
            except _NotNow as error:
                if time.monotonic() > deadline:
                    raise RuntimeError(f"the keys cannot be cleared: {error}") from None
            time.sleep(PAUSE_S)

    def _delete_all(self) -> None:
        after, until = b"", ""
        while True:
            headers = {"Ringkeep-Until": until} if until else {}
            query = f"all=true&after={quote_from_bytes(after, safe='')}" if after else "all=true"
            answer = self._ask("DELETE", f"/v1/kv?{query}", headers)
            if answer.get("next") is None and answer.get("next_base64") is None:
                return
            found = answer.get("next")
            after = found.encode() if found is not None else b64decode(answer["next_base64"])
            until = answer["until"]

    def _ask(self, method: str, path: str, headers: dict[str, str]) -> dict[str, Any]:
        """Return the answer of the first endpoint. Raises _NotNow unless it is a 200."""
        connection = http.client.HTTPConnection(urlsplit(self.endpoints[0]).netloc, timeout=10)
        try:
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise _NotNow(f"{self.endpoints[0]}: {error!r}") from error
        finally:
            connection.close()
        if answer.status != 200:
            raise _NotNow(f"{self.endpoints[0]}: {answer.status}: {body[:500].decode(errors='replace')}")
        found: dict[str, Any] = json.loads(body)
        return found


class _NotNow(Exception):
    """The request failed, and may succeed when it is repeated."""
