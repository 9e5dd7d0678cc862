"""First-party plugins. They come in through the same entry-point group as anybody else's."""
