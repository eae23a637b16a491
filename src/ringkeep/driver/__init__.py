"""One node, alive: events in, the core's turns, effects out; and how its process comes to speak for it."""
