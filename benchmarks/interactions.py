"""Do edits add up? And does the surrogate know what it says?

Every plan that a search looked at has several edits at once, measured untrained. Looks of finished runs of
``benchmarks/search.py`` are predicted from the others of the run, in five parts, by the surrogate's process, which
knows interactions, and by a ridge regression in which every parameter counts by itself (the best of three penalties).
Forecasts are held against what trials reached. Kept for ``search.py --render``:

    python benchmarks/interactions.py
"""

from __future__ import annotations

import argparse
import json

import numpy as np
import torch
from searches.kept import WORK, keep_beside

from compressor.search.floats import Floats
from compressor.search.observer import Silent
from compressor.search.prepare import prepare_search
from compressor.search.run_folder import RunFolder
from compressor.search.surrogate.answers import Scale
from compressor.search.surrogate.encoding import Encoding
from compressor.search.surrogate.gaussian_process import STEPS, fit_process
from compressor.search.surrogate.looks import LOOK
from compressor.stored import whole_lines

ANSWERS = {"log loss": 0, "log bytes": 1, "log time": 4}
"""Columns of ``Scale.features``."""
PENALTIES = (0.1, 1.0, 10.0)


def errors(inputs: Floats, answers: Floats) -> tuple[float, float]:
    """Root of the mean squared error of looks left out: by the process, and where parameters add up."""
    order = np.random.default_rng(0).permutation(len(answers))
    together, added = np.zeros(len(answers)), np.zeros((len(PENALTIES), len(answers)))
    for part in np.array_split(order, 5):
        rest = np.setdiff1d(order, part)
        process = fit_process(inputs[rest], answers[rest], steps=STEPS)
        together[part] = process.predict(inputs[part]).mean - answers[part]
        for index, penalty in enumerate(PENALTIES):
            added[index, part] = _ridge(inputs[rest], answers[rest], inputs[part], penalty) - answers[part]
    return float((together**2).mean() ** 0.5), float((added**2).mean(1).min() ** 0.5)


def _ridge(inputs: Floats, answers: Floats, wanted: Floats, penalty: float) -> Floats:
    table, mean = np.c_[inputs, np.ones(len(inputs))], answers.mean()
    weights = np.linalg.solve(table.T @ table + penalty * np.eye(table.shape[1]), table.T @ (answers - mean))
    return np.asarray(np.c_[wanted, np.ones(len(wanted))] @ weights + mean)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ANSWERS}
    inside = told = 0
    for path in sorted((WORK / "lenet").glob("run-surrogate-[0-9]")):
        run = RunFolder.open(path)
        prepared = prepare_search(run, run.recipe(), Silent())
        encoding, scale = Encoding(prepared.space.parameters), Scale(prepared.baseline.metrics, 0.01)
        looks = [look for look in whole_lines(run.looks, LOOK) if look.found is not None]
        inputs = np.array([encoding.vector(look.values) for look in looks])
        answers = np.array([scale.features(look.found) for look in looks if look.found is not None])
        for name, column in ANSWERS.items():
            found[name].append(errors(inputs, answers[:, column]))
        for trial in json.loads((path / "result.json").read_text())["calibration"]["trials"]:
            told += 1
            inside += trial["low"] <= trial["reached_regret"] <= trial["high"]
    print(found, inside, told)
    keep_beside({"errors": found, "inside": inside, "told": told}, "interactions")


if __name__ == "__main__":
    main()
