"""Tables go past the page cache only where the file system takes that: the store is the same either way."""

import errno
import os
from pathlib import Path

import pytest

from ringkeep.core.protocol.effects import Batch, Family
from ringkeep.storage import files
from ringkeep.storage.rocks import open_engine

pytestmark = pytest.mark.skipif(not hasattr(os, "O_DIRECT"), reason="this system has no direct I/O")


@pytest.mark.parametrize("refused", [False, True], ids=["as it is", "refused"])
def test_a_store_is_the_same_with_and_without(
    refused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def opened(path: Path, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if flags & os.O_DIRECT:
            raise OSError(errno.EINVAL, "refused")
        return real(path, flags, mode, dir_fd=dir_fd)

    if refused:
        monkeypatch.setattr(os, "open", opened)
        assert not files.takes_direct_io(tmp_path)
    value = os.urandom(3 << 20)
    engine = open_engine(tmp_path / "node")
    batch = Batch()
    batch.data[b"k"] = value
    engine.write(batch)
    engine.flush()
    engine.make_room()
    engine.close()
    engine = open_engine(tmp_path / "node")
    assert engine.get(Family.DATA, b"k") == value
    assert not engine.damaged
    engine.close()
    assert not (tmp_path / "node" / files.PROBE).exists()
