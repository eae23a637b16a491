"""A cluster on this machine, as `ringkeep up` runs it: its processes, its directories, its end."""
