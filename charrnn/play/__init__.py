"""The page to play with, and its HTTP endpoint."""
