"""Client requests at their coordinator: forwarding, confirmed reads, stale reads, answers."""
