"""What each plugin saves: one module per plugin, with ``rows()``; ``benchmarks/payoff.py`` shows them all."""
