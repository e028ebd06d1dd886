"""A run on disk and what is told of it: its folder, its checkpoints, trackers, the terminal."""
