"""Records in files: their formats, and how they come out of a cluster and go into one."""
