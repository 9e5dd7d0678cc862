"""Which channels belong together, and leaves with other channels."""
