"""Control arms: what the same budget gives without the method.

*Scratch*: the candidate's own architecture, its weights drawn anew, trained as long as the candidate was. If it does as
well, the trained weights the candidate inherited were worth nothing.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from compressor.data.dataset import Data
from compressor.engine.plan import Plan
from compressor.errors import TrialError
from compressor.graph.network import Network
from compressor.train.evaluate import Score, evaluate
from compressor.train.fit import fit
from compressor.train.spec import Distillation


def from_scratch(network: Network, plan: Plan, data: Data, *, seed: int, checkpoints: Path | None = None) -> Score:
    """Validation score of the architecture of ``network`` after the training of ``plan``, without its weights.

    No distillation: the control has its targets alone. ``checkpoints``: as for ``fit``.
    """
    control = network.fork()
    reinitialise(control, seed)
    for phase in plan.unrolled():
        if phase.training is not None:
            training = replace(phase.training, distillation=Distillation())
            fit(control, data, training, seed=seed, checkpoints=checkpoints)
    return evaluate(control, data, data.validation)


def reinitialise(network: Network, seed: int) -> None:
    """Draw every weight anew by the leaves' own ``reset_parameters``.

    Raises ``TrialError`` for a leaf that has parameters and no such method: it would keep what it was trained to be.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for path, leaf in network.leaves():
            reset = getattr(leaf, "reset_parameters", None) or getattr(leaf, "_reset_parameters", None)
            if callable(reset):
                reset()
            elif any(True for _ in leaf.parameters()):
                raise TrialError(f"{path}: a {type(leaf).__name__} has no reset_parameters to draw its weights anew by")
