"""What a check has to say."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """Something a plugin does not do as its contract says."""

    check: str
    """Name of the check, as in ``contract.CHECKS``."""
    network: str
    site: str
    """Path of the site; empty where the finding is about the plugin as a whole."""
    message: str

    def __str__(self) -> str:
        where = f"{self.network} {self.site}".strip()
        return f"[{self.check}] {where}: {self.message}" if where else f"[{self.check}] {self.message}"
