"""From operators to modules: a traced program as plain data, and a network that computes the same."""
