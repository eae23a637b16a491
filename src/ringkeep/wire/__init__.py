"""Bytes and messages: framing, codec, cluster map, handshake. Pure: no clock, socket or disk."""
