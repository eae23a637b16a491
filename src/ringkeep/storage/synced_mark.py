"""The synced mark: up to which sequence number the database was durable, kept outside the database.

A database that lost its newest files, or has a torn log, opens without an error and with less than was
durable; the comparison with this number reveals it. The mark is written only after the log's own fsync has
returned, so it is never too high. It may be too low, and is therefore not fsynced each time: after a kill the
operating system still has it, and a power loss leaves an older one, at most FSYNC_EVERY_S behind.

It also names the database's MANIFEST, as it was when the mark was fsynced last.

Two slots in different sectors are written in turn: a torn write damages one, and the other stays valid.
"""

import mmap
import os
import struct
import time
from pathlib import Path
from typing import Final

import google_crc32c

from ringkeep.errors import StorageDamaged
from ringkeep.storage.files import write_atomically
from ringkeep.storage.manifest import NONE, Manifest

FSYNC_EVERY_S: Final = 1.0

_SLOT_BYTES: Final = 4096
_SLOTS: Final = 2
_BODY: Final = struct.Struct("!4sIQQQ")
_CHECKSUM: Final = struct.Struct("!I")
_MARK_BYTES: Final = _BODY.size + _CHECKSUM.size
_MAGIC: Final = b"RKsm"
_FORMAT: Final = 2


def _encode(sequence: int, manifest: Manifest) -> bytes:
    body = _BODY.pack(_MAGIC, _FORMAT, sequence, *manifest)
    return body + _CHECKSUM.pack(google_crc32c.value(body))


def _decode(slot: bytes) -> tuple[int, Manifest] | None:
    """Return the sequence number and the MANIFEST, or None for a slot that is torn or foreign."""
    body, rest = slot[: _BODY.size], slot[_BODY.size : _BODY.size + _CHECKSUM.size]
    if len(rest) != _CHECKSUM.size or rest != _CHECKSUM.pack(google_crc32c.value(body)):
        return None
    magic, form, sequence, *manifest = _BODY.unpack(body)
    return (int(sequence), Manifest(*manifest)) if (magic, form) == (_MAGIC, _FORMAT) else None


class SyncedMark:
    """The open file. After opening, only one thread writes it."""

    __slots__ = ("_fsynced_at", "_handle", "_next_slot", "_page", "manifest", "sequence")

    def __init__(self, handle: int, sequence: int, manifest: Manifest, next_slot: int) -> None:
        self._handle = handle
        # Mapped, not written: a system call would release the interpreter lock, and wait to get it back.
        self._page = mmap.mmap(handle, _SLOT_BYTES * _SLOTS)
        self._next_slot = next_slot
        self._fsynced_at = time.monotonic()
        self.sequence = sequence
        """The newest number written."""
        self.manifest = manifest
        """The MANIFEST that is written with it."""

    @classmethod
    def open(cls, path: Path) -> "SyncedMark":
        """Open the mark. Raises StorageDamaged if both slots are unreadable, and OSError."""
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        slots = [_decode(os.pread(handle, _SLOT_BYTES, slot * _SLOT_BYTES)) for slot in range(_SLOTS)]
        known = [(*content, slot) for slot, content in enumerate(slots) if content is not None]
        if not known:
            os.close(handle)
            raise StorageDamaged(f"{path}: neither slot of the synced mark is readable")
        sequence, manifest, slot = max(known)
        return cls(handle, sequence, manifest, (slot + 1) % _SLOTS)

    @classmethod
    def create(cls, path: Path, sequence: int) -> "SyncedMark":
        """Create the mark, or replace it, durably. Raises OSError."""
        slot = _encode(sequence, NONE).ljust(_SLOT_BYTES, b"\0")
        write_atomically(path, slot * _SLOTS)
        return cls.open(path)

    @property
    def due(self) -> bool:
        """Whether the next `advance` fsyncs the mark: then `manifest` must be updated before."""
        return time.monotonic() - self._fsynced_at >= FSYNC_EVERY_S

    def advance(self, sequence: int) -> None:
        """Write the number, if it is new, once everything up to it is durable. Raises OSError."""
        if sequence > self.sequence:
            at = self._next_slot * _SLOT_BYTES
            self._page[at : at + _MARK_BYTES] = _encode(sequence, self.manifest)
            self._next_slot = (self._next_slot + 1) % _SLOTS
            self.sequence = sequence
        if self.due:
            self._page.flush()
            self._fsynced_at = time.monotonic()

    def close(self) -> None:
        """Close without a further fsync. Calling it again does nothing."""
        if self._handle >= 0:
            self._page.close()
            os.close(self._handle)
            self._handle = -1
