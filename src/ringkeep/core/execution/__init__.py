"""What a primary makes of a request: conditions, operations, batches."""
