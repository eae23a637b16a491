"""The `ringkeep` command: runs what was asked for, and turns errors into one line and an exit code.

A node lives for long, and `ringkeep dev` starts often. So the command line of a node, if it is plain, is read
without what describes all the commands: that takes time to load, and would stay in its memory.
"""

import contextlib
import json
import sys
from typing import TYPE_CHECKING, Final, NoReturn

from ringkeep.cli.terminal import streams
from ringkeep.cli.terminal.failure import Failure
from ringkeep.errors import ConfigurationError, RingkeepError, StorageError
from ringkeep.exit_codes import FAILED, INTERRUPTED, REFUSED

if TYPE_CHECKING:
    from ringkeep.settings import NodeSettings

SERVER_PACKAGES: Final = frozenset(
    {
        "google_crc32c",
        "httptools",
        "kazoo",
        "prometheus_client",
        "rocksdict",
        "starlette",
        "uvicorn",
        "uvloop",
    }
)


def run(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code. An error that a user can cause is one line on standard error.

    With --json among the arguments that line is a JSON object.
    """
    streams.prepare()
    given = sys.argv[1:] if arguments is None else arguments
    as_json = "--json" in given[: given.index("--")] if "--" in given else "--json" in given
    try:
        try:
            return _run(given)
        finally:
            streams.flush_output()
    except BrokenPipeError:
        return FAILED  # the reader of our output closed the pipe (`| head`)
    except KeyboardInterrupt:
        _say(Failure("interrupted", INTERRUPTED), as_json)
        return INTERRUPTED
    except Exception as error:
        problem = _problem(error)
        if problem is None:
            raise
        _say(problem, as_json)
        return problem.exit_code


def main() -> NoReturn:
    """Entry point of the console script."""
    sys.exit(run())


def _run(arguments: list[str]) -> int:
    settings = node_settings(arguments)
    if settings is None:
        from ringkeep.cli.app import invoke

        return invoke(arguments)
    from ringkeep.server import run_node

    return run_node(settings)


def node_settings(arguments: list[str]) -> "NodeSettings | None":
    """Return the settings if this is a node's command line, of flags with one value each; None for all else.

    Also for what is wrong with it: the parser of all commands says that.
    """
    if arguments[:1] not in (["node"], ["dev"]):
        return None
    from ringkeep import settings  # other commands do without

    if arguments[0] == "node":
        load, taken, more = settings.load_node_settings, settings.SETTINGS, {"--config": "config"}
    else:
        load, taken, more = settings.load_dev_settings, settings.DEV_SETTINGS, {}
    known = {f"--{setting.flag}": key for key, setting in taken.items()} | more
    flags: dict[str, str | None] = dict.fromkeys(known.values())
    words = iter(arguments[1:])
    for word in words:
        flag, joined, value = word.partition("=")
        given = value if joined else next(words, "-")
        if flag not in known or given.startswith("-"):
            return None
        flags[known[flag]] = given
    try:
        return load(flags)
    except ConfigurationError:
        return None


def _problem(error: Exception) -> Failure | None:
    """Return the line and the exit code of an error that a user can cause; None for a defect."""
    match error:
        case Failure():
            return error
        case ConfigurationError():
            return Failure(str(error), getattr(error, "exit_code", REFUSED))
        case StorageError():
            return Failure(str(error))
        case RingkeepError():
            return Failure(str(error), FAILED)
        case ModuleNotFoundError() if (error.name or "").partition(".")[0] in SERVER_PACKAGES:
            return Failure("only the client is installed here; this needs: pip install 'ringkeep[server]'")
        case OSError():
            where = f"{error.filename}: " if error.filename else ""
            return Failure(f"{where}{error.strerror or error}")
    return None


def _say(problem: Failure, as_json: bool) -> None:
    text = f"ringkeep: {problem}"
    if as_json:
        text = json.dumps({"status": "Failed", "error": str(problem), "exit_code": problem.exit_code})
    with contextlib.suppress(OSError):  # standard error is closed; the exit code still reports the failure
        print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
