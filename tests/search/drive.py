"""A driver for the tests that end one: ``python drive.py RUN`` prints its events' names and how it ended."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from compressor.search.driver import run_search
from compressor.search.observer import Event, TrialEnded
from compressor.search.run_folder import RunFolder


class Printer:
    def notify(self, event: Event) -> None:
        print(type(event).__name__, event.outcome.status if isinstance(event, TrialEnded) else "", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    finished = run_search(RunFolder.open(Path(sys.argv[1])), observer=Printer())
    print("interrupted" if finished.interrupted else "done", flush=True)
