"""The state of the cluster as one of its nodes reports it to people: health, and moves of replicas."""
