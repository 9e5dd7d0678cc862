"""Reasons of refusals, so that the same one is counted together."""

from __future__ import annotations

import re


def general(reason: str) -> str:
    """A reason without names of layers and nodes, and without numbers."""
    reason = re.sub(r"\b[A-Za-z_]+[\w]*(\.\w+)+\b|\b[a-z]+[a-z0-9]*(_[a-z0-9]+)+\b", "…", reason)
    reason = re.sub(r"\b(add|mul|cat|relu|conv|getitem|sub|div|view|reshape|flatten|bn|fc)\d*\b", "…", reason)
    reason = re.sub(r"\(?\b\d[\d,.×x ]*\)?", "N ", reason)
    return re.sub(r"\s+", " ", re.sub(r"(N |…, )+", lambda match: match.group(1), reason)).strip()
