"""Writing the cluster map anew after ZooKeeper lost it."""
