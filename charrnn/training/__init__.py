"""Training: rows and windows of text, steps, the loop, and where a run is."""
