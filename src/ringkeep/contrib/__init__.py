"""What programs expect around a store: caches of frameworks, mappings, traces. Each module stands for itself,
is made of the public client alone, and is imported by those who have what it fits into."""
