"""A client's connection: bytes in, requests in order, answers out, within bounds."""
