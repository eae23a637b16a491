"""The types of the protocol: messages, requests, entries, rows, the cluster map, and all limits."""
