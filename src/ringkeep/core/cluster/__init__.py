"""Decides which nodes hold which partition: the ring, the placement, and the steps from one map to the
next."""
