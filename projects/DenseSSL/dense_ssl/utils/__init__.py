"""Small helpers that belong to no room of their own."""
