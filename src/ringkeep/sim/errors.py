"""The one error of the simulator and of the model."""


class Violated(AssertionError):
    """An invariant does not hold, or the core breaks one of its own assertions."""
