"""Ringkeep: a distributed key-value store. What users import lives in `ringkeep.client`."""

__version__ = "0.1.0"
