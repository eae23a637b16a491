"""The whole distributed behaviour as a pure state machine.

No clock, socket, disk or random number: events come in, effects go out. `node` is all of it together.
"""
