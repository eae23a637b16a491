"""Connections between nodes: one to each peer for what is said, any number from peers for what is heard."""
