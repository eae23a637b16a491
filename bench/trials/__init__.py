"""Promises at full size: a million keys on five nodes, while faults happen or while all of them expire."""
