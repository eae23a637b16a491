"""Who is alive, and by whose word."""
