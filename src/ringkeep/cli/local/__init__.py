"""A cluster on this machine, as `ringkeep up` runs it: its settings, processes and directories."""
