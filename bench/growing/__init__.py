"""What happens as keys, values, partitions, nodes and connections grow: the parts of bench/growth.py."""
