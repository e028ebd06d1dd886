"""From the bytes of a file to its text, for the plugins that read files: unpacked, recognised, decoded, checked."""
