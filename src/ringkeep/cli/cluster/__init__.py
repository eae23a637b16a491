"""Access to a running cluster from outside: requests, polling, waiting."""
