"""The names under which this node may be addressed: its guard against pages from elsewhere.

A page on another site can make a browser send requests here, which carry the page's Origin. And its name can
be pointed at this node's address (DNS rebinding): then the browser takes the node for the page's own server,
and the name stands in Host. What no browser sends needs no guard: a program behind a tunnel, a published
port or a service name may address the node as it likes.
"""

import ipaddress
from collections.abc import Collection, Iterable, Mapping
from typing import Final

from ringkeep.http.problems import FOREIGN, Problem

EXEMPT: Final = frozenset({b"/livez", b"/readyz", b"/metrics"})
"""Served under any Host: load balancers and monitoring address a node as they please."""

ANY: Final = "*"

_DEFAULT_PORTS: Final = {b"http": b":80", b"https": b":443"}


def may_be_a_browser(fields: Mapping[bytes, bytes]) -> bool:
    """Whether a page in a browser can have made this request.

    Pages can neither leave out nor set Origin and Sec-Fetch-*. Origin is missing on their GET and HEAD, and
    Sec-Fetch-* towards a name without TLS; Accept-Language is always there (Fetch standard, 4.6). Browsers
    send Sec-Fetch-Site with every Sec-Fetch-Mode, programs that imitate them (Node's fetch) do not.
    """
    if b"sec-fetch-mode" in fields and b"sec-fetch-site" not in fields and b"origin" not in fields:
        return fields[b"sec-fetch-mode"] != b"cors"
    return any(mark in fields for mark in (b"origin", b"sec-fetch-site", b"accept-language"))


class Hosts:
    """The hosts and origins that browsers may use.

    The names of this node, `localhost` and literal addresses need no permission as Host: no page from
    elsewhere can point them here.
    """

    __slots__ = ("_addresses", "_any", "_names", "_origins", "_own", "_suffixes")

    def __init__(self, addresses: Iterable[str], port: int, allowed: Collection[str] = ()) -> None:
        """`addresses` are this node's "HOST:PORT", `port` the one it listens on.

        `allowed` are further names, "NAME" or "NAME:PORT", ".SUFFIX" for all names below one, or "*".
        """
        known = {f"{name}:{port}" for name in ("localhost", "127.0.0.1", "[::1]")}
        known.update(address.lower() for address in addresses)
        known.update(address.removesuffix(":80") for address in list(known) if address.endswith(":80"))
        self._addresses = frozenset(map(_encoded, known))
        self._origins = frozenset(b"http://" + address for address in self._addresses)
        names = [_encoded(name.lower().rstrip(".")) for name in allowed if name != ANY]
        self._any = ANY in allowed
        self._own = frozenset(map(_name_of, self._addresses))
        self._names = frozenset(name for name in names if not name.startswith(b"."))
        self._suffixes = tuple(name for name in names if name.startswith(b"."))

    def check(self, path: bytes, host: bytes, fields: Mapping[bytes, bytes]) -> None:
        """Raise Problem (403) if a page that this node did not serve can have sent the request."""
        known = host in self._addresses or path in EXEMPT or self._is_ours(host)
        if not known and may_be_a_browser(fields):
            raise _foreign("Host", host, "use the node's address")
        origin = fields.get(b"origin")
        if origin is not None and origin not in self._origins and not self._served(origin, host):
            raise _foreign("Origin", origin, "call the API from a program or from a page of this node")

    def _is_ours(self, host: bytes) -> bool:
        """Whether no page from elsewhere can have this Host. The port may be one that is forwarded here."""
        host = host.lower()
        name = _name_of(host)
        return (
            self._any
            or name in self._own
            or name.endswith(b".localhost")
            or _is_literal(name)
            or self._is_allowed(host, name)
        )

    def _is_allowed(self, host: bytes, name: bytes) -> bool:
        return host in self._names or name in self._names or name.endswith(self._suffixes)

    def _served(self, origin: bytes, host: bytes) -> bool:
        """Whether the page came through this very Host, which is ours, or from an allowed name.

        The latter is for proxies that put another Host in: "*" allows no Origin, since every page has one.
        """
        scheme, mark, authority = origin.lower().partition(b"://")
        default = _DEFAULT_PORTS.get(scheme)
        if not mark or default is None:
            return False
        if self._is_allowed(authority, _name_of(authority)):
            return True
        return authority.removesuffix(default) == host.lower().removesuffix(default) and self._is_ours(host)


def _name_of(host: bytes) -> bytes:
    """Return a Host's name, in lower case: without its port, and without the dot that may end a name."""
    if host.startswith(b"["):
        return host.partition(b"]")[0] + b"]"
    return host.partition(b":")[0].rstrip(b".")


def _is_literal(name: bytes) -> bool:
    try:
        ipaddress.ip_address(name.removeprefix(b"[").removesuffix(b"]").decode("ascii"))
    except ValueError:
        return False
    return True


def _encoded(name: str) -> bytes:
    return name.encode("ascii" if name.isascii() else "idna")


def _foreign(field: str, value: bytes, advice: str) -> Problem:
    shown = value[:80].decode("ascii", "backslashreplace")
    return Problem(
        FOREIGN,
        f"The {field} '{shown}' is not this node's, and a page from elsewhere may have sent the request. "
        f"Nothing was applied; {advice}, or permit the name with --allowed-hosts.",
    )
