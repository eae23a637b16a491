"""How the cluster fares, as one of its nodes can tell people: its health, and the moves of its replicas."""
