"""Runs kept in an experiment tracker beside their folder: what the tracker is told, and trackers that can be told."""
