"""One partition's log: promised, replicated, committed, applied, caught up by a snapshot, handed over."""
