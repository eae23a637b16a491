"""RocksDB's settings, each with its reason. Five nodes share a laptop: memory and files are bounded per node.

Knows nothing of what the rows mean, only how the three families are used.
"""

import contextlib
import os
import tempfile
from pathlib import Path
from typing import Final

from rocksdict import (
    BlockBasedIndexType,
    BlockBasedOptions,
    Cache,
    DBCompressionType,
    DBRecoveryMode,
    Options,
)

from ringkeep.core.protocol.effects import Family

KIB: Final = 1 << 10
MIB: Final = 1 << 20

BLOCK_CACHE_BYTES: Final = 64 * MIB
"""Shared by the families; filled as blocks are read, so that an idle node does not use it."""

WRITE_BUFFER_BYTES: Final = {Family.META: 2 * MIB, Family.LOG: 16 * MIB, Family.DATA: 16 * MIB}
WRITE_BUFFERS: Final = {Family.META: 2, Family.LOG: 4, Family.DATA: 4}
"""One is filled while the others are flushed to disk; when all are being flushed, writes are refused."""

MAX_LOG_BYTES: Final = 128 * MIB
"""Of all write-ahead log files together: bounds what is replayed when a node starts."""

MAX_OPEN_FILES: Final = 512  # or as many as the node may spare (`descriptors`)
BLOOM_BITS_PER_KEY: Final = 10

BLOB_BYTES: Final = 16 * KIB
"""A value from this size on is written to a blob file beside the tables: once, and not by each compaction."""

BLOB_FILE_BYTES: Final = 16 * MIB
BLOB_GARBAGE: Final = 0.25, 0.5
"""Compactions copy what is left in the oldest quarter of the blob files, and are begun for that once half of
it is garbage."""

REFUSE_FILES: Final = 60, 80
"""From how many files of level 0 on, which no compaction has merged yet, writes slow down, which here means
that they are refused, and when they stop. Reads look into each of them."""

COMPACTION_NICE: Final = 10
_COMPACTION_THREADS: Final = "rocksdb:low"

DELETIONS: Final = 128, 64, 0.3
"""A table with 64 deletions among 128 rows, or 0.3 of all, is compacted soon: so deletes make room."""

assert sum(WRITE_BUFFER_BYTES[family] * WRITE_BUFFERS[family] for family in Family) <= 2 * MAX_LOG_BYTES


def database_options(tables: int = MAX_OPEN_FILES, direct: bool = False) -> Options:
    """Return the settings of the database as a whole. `tables`: how many files it may keep open. `direct`:
    whether flushes and compactions go past the page cache, where the file system can do that: a copy less of
    each byte (figures: ADR 3). The log file is written as before.
    """
    options, _ = _options_read()
    options.create_if_missing(True)
    options.create_missing_column_families(True)
    # Recovers a prefix of what was written, whatever the tail looks like; the synced mark shows a short one.
    options.set_wal_recovery_mode(DBRecoveryMode.point_in_time())
    options.set_max_total_wal_size(MAX_LOG_BYTES)
    options.set_max_open_files(tables)
    options.set_max_background_jobs(2)
    options.set_use_direct_io_for_flush_and_compaction(direct)
    options.set_bytes_per_sync(1 * MIB)  # table files reach the disk evenly, not in one burst under the log
    options.set_max_log_file_size(1 * MIB)  # RocksDB's own messages, in the file LOG
    options.set_keep_log_file_num(3)
    options.set_stats_dump_period_sec(0)
    options.set_stats_persist_period_sec(0)
    options.set_max_manifest_file_size(4 * MIB)
    options.set_allow_concurrent_memtable_write(False)
    options.set_write_buffer_size(64 * KIB)  # of the family `default`, which RocksDB insists on: unused
    return options


def _options_read() -> tuple[Options, Options]:
    """Return options of a database and of its log family with what rocksdict has no call for (0.3.29), but
    reads from a database's file of options.

    The MANIFEST lists the synced log files, and all of them are required: without that, a database that
    misses one among several opens as if that one had been empty. And the log's write buffer remembers where
    each partition's last entry is: the next one belongs right behind it.
    """
    with tempfile.TemporaryDirectory(prefix="ringkeep-options-") as directory:
        Path(directory, "OPTIONS-000001").write_text(_READ)
        Path(directory, "rocksdict-config.json").write_text('{"raw_mode": true, "prefix_extractors": {}}')
        options, families = Options.load_latest(directory)
    return options, families["default"]


def family_options(family: Family) -> Options:
    """Return the settings of one column family."""
    options = _options_read()[1] if family is Family.LOG else Options(raw_mode=True)
    options.set_write_buffer_size(WRITE_BUFFER_BYTES[family])
    options.set_max_write_buffer_number(WRITE_BUFFERS[family])
    options.set_block_based_table_factory(_table_format())
    options.set_allow_concurrent_memtable_write(False)  # one thread writes
    slow, stop = REFUSE_FILES
    options.set_level_zero_slowdown_writes_trigger(slow)
    options.set_level_zero_stop_writes_trigger(stop)
    options.set_level_compaction_dynamic_level_bytes(True)
    options.set_target_file_size_base(16 * MIB)
    options.set_max_bytes_for_level_base(64 * MIB)
    # Log entries are deleted soon, and meta is tiny: compressing them costs more than it saves.
    if family is Family.DATA:
        options.set_compression_type(DBCompressionType.lz4())
        options.set_blob_compression_type(DBCompressionType.lz4())
        options.add_compact_on_deletion_collector_factory(*DELETIONS)
    else:
        options.set_compression_type(DBCompressionType.none())
    if family is not Family.META:
        _use_blob_files(options)
    return options


def _use_blob_files(options: Options) -> None:
    """Have large values written once by a flush: fewer bytes reach the disk, for more checksums (ADR 3)."""
    options.set_enable_blob_files(True)
    options.set_min_blob_size(BLOB_BYTES)
    options.set_blob_file_size(BLOB_FILE_BYTES)
    options.set_enable_blob_gc(True)
    age, threshold = BLOB_GARBAGE
    options.set_blob_gc_age_cutoff(age)
    options.set_blob_gc_force_threshold(threshold)


_READ: Final = """\
[Version]
  rocksdb_version=9.8.4
  options_file_version=1.1

[DBOptions]
  track_and_verify_wals_in_manifest=true

[CFOptions "default"]
  memtable_insert_with_hint_prefix_extractor=rocksdb.FixedPrefix.2
"""

_CACHE: Final = Cache(BLOCK_CACHE_BYTES)


def make_compactions_wait() -> None:
    """Give the compactions of this process a low priority: they may wait for a processor, and requests may
    not. Flushes keep theirs: writes are refused while they are behind. So they are behind compactions that
    never run, and hence the priority is not the lowest, as RocksDB's own call would make it: beside busy
    processes of others, one of 15 MB took 11 s.

    Call after each opening: RocksDB may start more threads. Only Linux has a priority of each thread.
    """
    for thread in Path("/proc/self/task").glob("*"):
        with contextlib.suppress(OSError):  # the thread has ended
            if (thread / "comm").read_text().startswith(_COMPACTION_THREADS):
                os.setpriority(os.PRIO_PROCESS, int(thread.name), COMPACTION_NICE)


def _table_format() -> BlockBasedOptions:
    table = BlockBasedOptions()
    table.set_block_cache(_CACHE)
    table.set_block_size(8 * KIB)
    table.set_bloom_filter(BLOOM_BITS_PER_KEY, False)
    table.set_cache_index_and_filter_blocks(True)  # so that the cache bounds them too
    table.set_pin_l0_filter_and_index_blocks_in_cache(True)
    # In pieces: the cache has 64 parts, and none holds a filter above 1 MiB, as a table of a million small
    # rows has one. Each read of a row would read it from the file, and check its sum.
    table.set_index_type(BlockBasedIndexType.two_level_index_search())
    table.set_partition_filters(True)
    table.set_metadata_block_size(8 * KIB)
    table.set_pin_top_level_index_and_filter(True)
    table.set_format_version(5)
    return table
