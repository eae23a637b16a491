"""What became of records, counted: for the summary, and for the state of an import that is broken off."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Counts:
    """`read` = `written` + `skipped` + `failed`, once all is done. `skipped` and `failed` are by reason."""

    read: int = 0
    written: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    verified: int = 0
    differ: int = 0

    def add(self, other: "Counts") -> None:
        """Add those of a part."""
        self.read += other.read
        self.written += other.written
        self.skipped.update(other.skipped)
        self.failed.update(other.failed)
        self.verified += other.verified
        self.differ += other.differ

    def document(self) -> dict[str, Any]:
        """Return them for a program."""
        return {
            "read": self.read,
            "written": self.written,
            "skipped": dict(self.skipped),
            "failed": dict(self.failed),
            "verified": self.verified,
            "differ": self.differ,
        }

    @classmethod
    def of(cls, said: dict[str, Any]) -> "Counts":
        """Return what `document` has made."""
        return cls(
            said["read"],
            said["written"],
            Counter(said["skipped"]),
            Counter(said["failed"]),
            said["verified"],
            said["differ"],
        )
