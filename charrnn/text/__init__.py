"""The text of a run: from corpus specs over documents and one vocabulary to a memory-mapped token store; no torch."""
