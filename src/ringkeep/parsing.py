"""Parses text that people write: addresses, names, numbers, times.

Each parser returns the canonical value, or raises ValueError with what is wrong and the remedy; the caller
puts the name of what was read in front. Knows nothing of the text's source.
"""

import ipaddress
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ringkeep.core.protocol import limits

MAX_PORT: Final = 65_535
ZOOKEEPER_PORT: Final = 2_181
NAME_LENGTH: Final = 64
LOG_LEVELS: Final = ("debug", "info", "warning", "error")

_NAME: Final = re.compile(r"[A-Za-z0-9._-]+")
_ZONE: Final = re.compile(r"[!-~]+")
_HOST: Final = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?")
_ZOOKEEPER_PATH: Final = re.compile(r"(/[A-Za-z0-9._-]+)+")
_TTL: Final = re.compile(r"([0-9]{1,14})(ms|s|m|h|d)")
_UNITS_MS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}

TTL_FORM: Final = (
    "an integer and a unit (ms, s, m, h or d), such as 30s, "
    f"from 1ms to {limits.MAX_TTL_MS // _UNITS_MS['d']}d"
)
"""What a time to live looks like."""


def address(text: str) -> str:
    """Return "HOST:PORT" with an IPv6 host in brackets."""
    host, _, port = text.rpartition(":")
    if not host and not port.isdigit():
        raise ValueError(f"'{text}' is not HOST:PORT; write it like 127.0.0.1:8000")
    if not host:
        raise ValueError(f"'{text}' names no host; write it like 127.0.0.1:{port.lstrip(':')}")
    return join_address(_host(host, text), _port(port, text))


def host_port(canonical: str) -> tuple[str, int]:
    """Split a canonical "HOST:PORT" into what `bind` and `connect` take: no brackets, port as a number."""
    host, _, port = canonical.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port)


def join_address(host: str, port: int) -> str:
    """Return the canonical "HOST:PORT"."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def allowed_hosts(text: str) -> tuple[str, ...]:
    """Return the names of a list like "kv.example.com,.internal,lab:9000"; "*" stands for every name."""
    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        host, _, port = name.removeprefix(".").partition(":")
        if name != "*" and not (_HOST.fullmatch(host) and (not port or port.isdecimal())):
            raise ValueError(
                f"'{name}' is not a host name; write names like kv.example.com, .example.com for all below "
                "it, or * for any"
            )
    return names


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a listener on this host."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower().rstrip(".") == "localhost"


def is_wildcard(host: str) -> bool:
    """Whether this is "every interface", to which nobody can connect."""
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def _host(text: str, whole_text: str) -> str:
    bracketed = text.startswith("[") and text.endswith("]")
    bare = text[1:-1] if bracketed else text
    try:
        parsed = ipaddress.ip_address(bare)
    except ValueError:
        if bracketed or ":" in bare:
            raise ValueError(f"'{whole_text}' has no IPv6 address in it; write it like [::1]:8000") from None
        if len(bare) > 253 or not _HOST.fullmatch(bare):
            raise ValueError(f"'{bare}' is not a host name or an IP address") from None
        return bare
    if parsed.version == 6 and not bracketed:
        raise ValueError(f"'{whole_text}': put the IPv6 address in brackets, like [::1]:8000")
    if parsed.version == 4 and bracketed:
        raise ValueError(f"'{whole_text}': brackets are for IPv6 addresses only; write {bare}:PORT")
    return parsed.compressed


def _port(text: str, whole_text: str) -> int:
    # isdecimal alone would let other scripts' digits through.
    if not (text.isascii() and text.isdecimal() and len(text) <= 5 and 1 <= int(text) <= MAX_PORT):
        raise ValueError(f"'{whole_text}': the port must be a number from 1 to {MAX_PORT}, not '{text}'")
    return int(text)


def name(text: str) -> str:
    """Return a name of a node or a cluster."""
    if len(text) > NAME_LENGTH:
        raise ValueError(f"'{text[:20]}…' has {len(text)} characters; at most {NAME_LENGTH} are allowed")
    # "." and ".." would name other directories, and are not allowed as names of znodes.
    if not _NAME.fullmatch(text) or text in (".", ".."):
        raise ValueError(f"'{text}' is not a name; use letters, digits, '.', '_' and '-'")
    return text


def zone(text: str) -> str:
    """Return the label of a failure domain."""
    if len(text) > NAME_LENGTH or not _ZONE.fullmatch(text):
        raise ValueError(
            f"'{text}' is not a zone; use 1 to {NAME_LENGTH} visible ASCII characters, no spaces"
        )
    return text


def directory(text: str) -> Path:
    """Return an absolute path: a later change of the working directory must not move the data."""
    if not text:
        raise ValueError("the directory's name is empty; give a path")
    path = Path(text).expanduser().absolute()
    check_path(path)
    return path


def check_path(path: Path) -> None:
    """Raise ValueError for a path that cannot be passed on to every program and log: the store's, Java's."""
    try:
        printable = str(path).encode() and str(path).isprintable()
    except UnicodeEncodeError:
        printable = False
    if not printable:
        raise ValueError(f"the path {str(path)!a} is not printable UTF-8; choose another directory")


def zookeeper(text: str) -> str:
    """Return "HOST:PORT[,HOST:PORT…][/PATH]" with every port filled in."""
    hosts, slash, path = text.partition("/")
    if slash and (not _ZOOKEEPER_PATH.fullmatch(slash + path) or {".", ".."} & set(path.split("/"))):
        raise ValueError(f"'{slash + path}' is not a ZooKeeper path; write it like /some/place")
    addresses = []
    for part in hosts.split(","):
        entry = part.strip()
        if not entry:
            raise ValueError(f"'{text}' has an empty entry; write HOST:PORT[,HOST:PORT]")
        port_given = ":" in entry.rpartition("]")[2] or (":" in entry and "]" not in entry)
        addresses.append(address(entry if port_given else f"{entry}:{ZOOKEEPER_PORT}"))
    return ",".join(addresses) + slash + path


def whole(lowest: int, highest: int) -> Callable[[str], int]:
    """Return a parser for whole numbers within bounds."""

    def parse(text: str) -> int:
        digits = text.strip()
        if not (digits.isascii() and digits.isdecimal() and len(digits) <= 20):
            raise ValueError(f"'{text}' is not a whole number; give one from {lowest} to {highest}")
        if not lowest <= int(digits) <= highest:
            raise ValueError(f"{digits} is out of range; give a number from {lowest} to {highest}")
        return int(digits)

    return parse


def power_of_two(highest: int) -> Callable[[str], int]:
    """Return a parser for powers of two up to `highest`."""
    number = whole(1, highest)

    def parse(text: str) -> int:
        value = number(text)
        if value & (value - 1):
            below = 1 << (value.bit_length() - 1)
            raise ValueError(f"{value} is not a power of two; {below} and {below * 2} are the nearest")
        return value

    return parse


def replication(text: str) -> int:
    """Return how many copies are kept."""
    value = text.strip()
    if value not in map(str, limits.REPLICATIONS):
        raise ValueError(f"'{text}' is invalid; give 1, 3 or 5 (an odd number, for clear majorities)")
    return int(value)


def ttl_ms(text: str) -> int:
    """Return a time to live in milliseconds."""
    match = _TTL.fullmatch(text)
    milliseconds = int(match[1]) * _UNITS_MS[match[2]] if match else 0
    if not 1 <= milliseconds <= limits.MAX_TTL_MS:
        raise ValueError(f"'{text[:40]}' is not a time to live; write {TTL_FORM}")
    return milliseconds


def log_level(text: str) -> str:
    """Return one of LOG_LEVELS."""
    if text.lower() not in LOG_LEVELS:
        raise ValueError(f"'{text}' is not a log level; give one of {', '.join(LOG_LEVELS)}")
    return text.lower()
