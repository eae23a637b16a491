"""What all commands share with the terminal: streams, tables, exit codes, progress."""
