"""Failure detection: heartbeats, suspicions, and heartbeats relayed through other nodes."""
