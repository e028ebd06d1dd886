"""The settings of a run: what each is, its presets, and where its values come from."""
