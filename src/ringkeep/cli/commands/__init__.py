"""One module per group of commands: its options, its words, and what it calls."""
