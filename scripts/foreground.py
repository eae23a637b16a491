"""Run a command as the terminal's foreground job: `foreground.py COMMAND ARGUMENT...`.

`make` dies of the Ctrl-C that reaches it, however cleanly its recipe ends, and the shell then sees a
failure. So the command gets a process group of its own, the terminal is lent to that group, and Ctrl-C goes
to the command alone. Without a terminal only the signals are passed on. Exits as the command did.
"""

import contextlib
import os
import signal
import subprocess
import sys

PASSED_ON = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)


def lend_terminal(terminal: int | None, group: int) -> None:
    """Make `group` the one that the keyboard's signals go to."""
    if terminal is not None:
        with contextlib.suppress(OSError):  # the terminal was closed: nobody types there any more
            os.tcsetpgrp(terminal, group)


def own_terminal() -> int | None:
    """Return a descriptor of the terminal if we are its foreground job, else None."""
    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    return terminal if os.tcgetpgrp(terminal) == os.getpgrp() else None


def main(command: list[str]) -> int:
    terminal = own_terminal()
    # Whoever is not in the foreground is stopped for touching the terminal, unless it ignores this signal.
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    child = subprocess.Popen(
        command, process_group=0, preexec_fn=lambda: signal.signal(signal.SIGTTOU, signal.SIG_DFL)
    )
    for number in PASSED_ON:
        signal.signal(number, lambda received, _frame: os.kill(child.pid, received))
    lend_terminal(terminal, child.pid)
    try:
        while True:
            _, status = os.waitpid(child.pid, os.WUNTRACED)
            if not os.WIFSTOPPED(status):
                code = os.waitstatus_to_exitcode(status)
                return code if code >= 0 else 128 - code  # as a shell reports a death by signal
            # Ctrl-Z: stop with the command, so that the shell notices, and go on with it.
            lend_terminal(terminal, os.getpgrp())
            os.killpg(0, signal.SIGTSTP)
            lend_terminal(terminal, child.pid)
            os.killpg(child.pid, signal.SIGCONT)
    finally:
        lend_terminal(terminal, os.getpgrp())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
