"""The words of the protocol: messages, requests, entries, rows, the cluster map, and every limit."""
