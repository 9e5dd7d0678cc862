"""Trainings that take too long without an accelerator: arms of the papers' pages.

A part trains one arm, keeps its figures where its page looks for them, and says them here too.
"""

from __future__ import annotations

from gpus.part import Part

TRAININGS: dict[str, Part] = {}
"""By name; each is left out where the time that is left would not do."""
