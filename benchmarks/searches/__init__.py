"""Arms of ``benchmarks/search.py``: what is searched, by whom, and what came of it."""
