"""The program of a node that a test starts: `ringkeep`, killed when the thread that started it ends.

The child asks for that itself: what runs between fork and exec would have to do without the locks of other
threads, and a process that runs tests may have many.
"""

import sys

from ringkeep.cli.main import run
from ringkeep.process import die_with_parent


def main() -> None:
    """Arguments: the parent's process id, then those of `ringkeep`."""
    die_with_parent(int(sys.argv[1]))
    sys.exit(run(sys.argv[2:]))


if __name__ == "__main__":
    main()
