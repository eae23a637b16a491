"""What both clients do alike: requests, attempts, answers. No sockets, and nothing that waits."""
