"""Encodes a member's registration and a node's mark: as JSON, readable with ZooKeeper's own tools.

Fields may be added within format 1; older readers ignore them. A field that an older reader must not ignore
needs another format.
"""

from dataclasses import replace
from typing import Final

import msgspec

from ringkeep.admission import Mark
from ringkeep.core.protocol.cluster_map import Member
from ringkeep.errors import ProtocolError

FORMAT: Final = 1


class _Registration(msgspec.Struct, frozen=True):
    """The znode's content. `process` is random for each process: it distinguishes our registration from that
    of a copied data directory, which has our node id and may have our incarnation."""

    format: int
    process: str
    member: Member


class _Marked(msgspec.Struct, frozen=True):
    """A mark's content."""

    format: int
    mark: Mark


class _Format(msgspec.Struct, frozen=True):
    format: int


def encode_member(member: Member, process: str) -> bytes:
    """Return the content of a member's znode. Its sequence is not part of it: that is in the znode's name."""
    return msgspec.json.encode(_Registration(FORMAT, process, replace(member, sequence=0)))


def decode_member(content: bytes, sequence: int) -> tuple[Member, str]:
    """Return the member, with this sequence, and the process that registered it.

    Raises ProtocolError if these bytes are not a registration, or one of another format.
    """
    try:
        form = msgspec.json.decode(content, type=_Format).format
        if form != FORMAT:
            raise ProtocolError(f"a member registered in format {form}; this version reads format {FORMAT}")
        registration = msgspec.json.decode(content, type=_Registration)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ProtocolError(f"not a member's registration: {error}") from error
    return replace(registration.member, sequence=sequence), registration.process


def encode_mark(mark: Mark) -> bytes:
    """Return the content of a mark's znode."""
    return msgspec.json.encode(_Marked(FORMAT, mark))


def decode_mark(content: bytes) -> Mark:
    """Return the mark. Raises ProtocolError if these bytes are not a mark, or one of another format."""
    try:
        marked = msgspec.json.decode(content, type=_Marked)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ProtocolError(f"not a mark: {error}") from error
    if marked.format != FORMAT:
        raise ProtocolError(f"a mark in format {marked.format}; this version reads format {FORMAT}")
    return marked.mark
