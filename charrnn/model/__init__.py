"""The model and what one does with it alone: reading, writing, measuring; it knows nothing of training."""
