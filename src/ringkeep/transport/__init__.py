"""Connections between nodes: one link to each peer for sending, any number of incoming ones."""
