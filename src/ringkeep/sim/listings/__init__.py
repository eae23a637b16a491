"""Listings by simulated clients, and the verdict on them."""
