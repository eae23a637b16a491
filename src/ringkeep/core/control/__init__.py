"""Reports that nodes exchange about the cluster, and the controller, which writes the next map."""
