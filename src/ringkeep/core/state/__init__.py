"""What a replica holds, and how it changes: the log, the records, what is known of requests, and time."""
