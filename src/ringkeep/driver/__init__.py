"""Drives the core of one node: passes events in, carries out effects; decides when its process may speak."""
