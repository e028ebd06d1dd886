"""What comes from outside, and what is shown there: files that strangers wrote, streams that may be gone."""
