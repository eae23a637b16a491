"""A disk that does not answer, or refuses: a library in front of libc that a node is started with.

What it does to which calls is told through a file that the node maps, so that it can change while the node
runs. Needs Linux and a C compiler.
"""

import mmap
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SYNC, WRITE, LOOK = "s", "w", "v"
"""Kinds of calls: fsync and its like, msync included; write and its like; statvfs."""

_PAGE = 4096
_SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static volatile char *told; /* what to do, to which calls, and a part of the path: "hs/db/" */

__attribute__((constructor)) static void begin(void) {
    int handle = open(getenv("BADDISK"), O_RDONLY | O_CLOEXEC);
    void *page = handle < 0 ? MAP_FAILED : mmap(0, 4096, PROT_READ, MAP_SHARED, handle, 0);
    if (page == MAP_FAILED) abort();
    told = page;
    close(handle);
}

static int struck(char call, const char *path) {
    if (!told || !told[0]) return 0;
    char copy[4096];
    memcpy(copy, (const char *)told, sizeof copy - 1);
    copy[sizeof copy - 1] = 0;
    if (copy[1] != call || !strstr(path, copy + 2)) return 0;
    if (copy[0] == 'h') {
        while (told[0] == 'h') usleep(10000);
        return 0;
    }
    errno = EIO;
    return 1;
}

static int struck_file(char call, int handle) {
    if (!told || !told[0]) return 0;
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", handle);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size < 0) return 0;
    path[size] = 0;
    return struck(call, path);
}

#define REAL(name) __typeof__(name) *real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)
#define BEFORE(call, type, name, takes, gives) \
    type name takes { REAL(name); return struck_file(call, f) ? -1 : real gives; }

BEFORE('s', int, fsync, (int f), (f))
BEFORE('s', int, fdatasync, (int f), (f))
BEFORE('w', ssize_t, write, (int f, const void *b, size_t n), (f, b, n))
BEFORE('w', ssize_t, pwrite, (int f, const void *b, size_t n, off_t o), (f, b, n, o))
BEFORE('w', ssize_t, pwrite64, (int f, const void *b, size_t n, off64_t o), (f, b, n, o))
BEFORE('w', ssize_t, writev, (int f, const struct iovec *v, int n), (f, v, n))

int msync(void *at, size_t size, int flags) {
    REAL(msync);
    return struck('s', "/synced") ? -1 : real(at, size, flags);
}

int statvfs(const char *path, struct statvfs *found) {
    REAL(statvfs);
    return struck('v', path) ? -1 : real(path, found);
}

int statvfs64(const char *path, struct statvfs64 *found) {
    REAL(statvfs64);
    return struck('v', path) ? -1 : real(path, found);
}
"""


class BadDisk:
    """What happens to one node's disk. `environment`: what the node has to be started with."""

    def __init__(self, directory: Path, name: str) -> None:
        """Build the library, once per directory. Skips the test where that cannot be."""
        directory.mkdir(parents=True, exist_ok=True)
        library = directory / "baddisk.so"
        if not library.exists():
            _build(library)
        control = directory / f"{name}.baddisk"
        control.write_bytes(bytes(_PAGE))
        with control.open("r+b") as opened:
            self._page = mmap.mmap(opened.fileno(), _PAGE)
        self.environment = {"LD_PRELOAD": str(library), "BADDISK": str(control)}

    def hang(self, calls: str, path: str) -> None:
        """Have these calls on files whose path holds `path` return only once it is well again."""
        self._tell(b"h", calls, path)

    def refuse(self, calls: str, path: str) -> None:
        """Have them fail with EIO."""
        self._tell(b"e", calls, path)

    def well(self) -> None:
        self._page[0] = 0

    def _tell(self, what: bytes, calls: str, path: str) -> None:
        assert not self._page[0], "one trouble at a time"
        rest = f"{calls}{path}".encode() + b"\0"
        self._page[1 : 1 + len(rest)] = rest
        self._page[0:1] = what  # last: from now on it holds


def _build(library: Path) -> None:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        if os.environ.get("CI") and sys.platform == "linux":
            raise AssertionError("no C compiler here")
        pytest.skip("needs Linux and a C compiler")
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(library), "-x", "c", "-", "-ldl"]
    subprocess.run(command, input=_SOURCE.encode(), check=True)
