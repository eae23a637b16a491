"""Load on a cluster, and how it is measured: what `ringkeep bench` runs."""
