"""Which nodes hold which partition: the ring, the plan, and the legal steps from one map to the next."""
