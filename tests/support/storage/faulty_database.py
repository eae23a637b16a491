"""The database below an engine, in the hands of a test: it fails as RocksDB does, and writes its tables."""

from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from ringkeep.core.protocol.effects import Family
from ringkeep.storage.rocks import open_database

WRITE_STALL = "Result incomplete: Write stall"


class FaultyDatabase:
    """Give its `open` to `open_engine`."""

    def __init__(self) -> None:
        self.background_failures = 0
        """How many flushes or compactions in the background failed, beside those of RocksDB itself."""
        self.refused: Counter[str] = Counter()
        """How often each method was called and failed."""
        self._errors: dict[str, str] = {}
        self._real: Any = None

    def open(self, path: Path, tables: int) -> Any:
        self._real = open_database(path, tables)
        return self

    def fail(self, error: str, *methods: str) -> None:
        """Have these methods raise this, as RocksDB words it."""
        self._errors |= dict.fromkeys(methods, error)

    def recover(self) -> None:
        self._errors.clear()
        self.background_failures = 0

    def write_table(self, family: Family) -> None:
        """Bring what memory holds of a family into a table file; another log file begins."""
        self._real.get_column_family(family.name.lower()).flush(wait=True)

    def property_int_value(self, name: str) -> int | None:
        found: int | None = self._real.property_int_value(name)
        return (found or 0) + self.background_failures if name == "rocksdb.background-errors" else found

    def __getattr__(self, name: str) -> Any:
        return partial(self._refuse, name) if name in self._errors else getattr(self._real, name)

    def _refuse(self, method: str, *_: object) -> NoReturn:
        self.refused[method] += 1
        raise Exception(self._errors[method])
