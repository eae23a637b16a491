"""`ringkeep up` as a program of its own, which starts stand-ins instead of nodes."""

import sys
from functools import partial
from pathlib import Path

from ringkeep.cli import main
from ringkeep.cli.local import cluster

NODE = [sys.executable, str(Path(__file__).with_name("stand_in_node.py"))]

if __name__ == "__main__":
    cluster.run_up = partial(cluster.run_up, command=NODE)
    main.main()
