"""The corpus plugins that come with charrnn; each is found by its entry point, as anybody's plugin is."""
