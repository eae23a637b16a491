"""Who is alive, by whose word, and whose disk answers."""
