"""What the programs of this folder share: clusters of real processes, load, and what a process takes."""
