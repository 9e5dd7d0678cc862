"""The one short run on a machine with an accelerator: is everything equal there, and how fast is it?

    python benchmarks/gpu.py                                # every part, on CUDA; those that are done are left out
    python benchmarks/gpu.py --device cpu --quick --out F   # a rehearsal: the accelerator is the CPU itself
    python benchmarks/gpu.py --only scores times --seconds 500
    python benchmarks/gpu.py --render                       # the page anew, from the figures kept

A part is not begun where the time that is left would not do. Figures: ``docs/results/data/gpu.json``, written after
every part; page: ``docs/results/gpu.md``. Data sets that must travel: ``gpus/parcel.py``.
"""

from __future__ import annotations

import argparse
import json
import time
import traceback
from pathlib import Path

import torch
from _opening import with_opening
from _report import RESULTS, surroundings
from gpus.checks import CHECKS
from gpus.page import page
from gpus.part import Figures, Part, Setting
from gpus.times import TIMES
from gpus.trainings import TRAININGS

PARTS: dict[str, Part] = {**CHECKS, **TIMES, **TRAININGS}
KEPT = RESULTS / "data" / "gpu.json"


def carry_out(chosen: list[str], setting: Setting, kept: Path, seconds: float) -> None:
    """Every part that is not done yet and that the time allows."""
    ends = time.monotonic() + seconds
    found: Figures = json.loads(kept.read_text()) if kept.exists() else {}
    for name in chosen:
        if found.get(name, {}).get("ok", name in found):
            continue
        if time.monotonic() + PARTS[name].seconds > ends and not setting.quick:
            print(f"{name}: no time is left", flush=True)
            continue
        started = time.monotonic()
        try:
            figures = PARTS[name].run(setting)
        except Exception as error:  # the next part may go through
            traceback.print_exc()
            figures = {"ok": False, "error": f"{type(error).__name__}: {error}"}
        figures = {**figures, "wall_s": round(time.monotonic() - started, 1), "machine": _machine(setting)}
        found[name] = figures
        print(name, json.dumps(figures), flush=True)
        kept.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def _machine(setting: Setting) -> str:
    if setting.device.type != "cuda":
        return f"rehearsal on {setting.device}; {surroundings()}"
    return f"{torch.cuda.get_device_name(setting.device)}, CUDA {torch.version.cuda}; {surroundings()}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--only", nargs="*", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--seconds", type=float, default=540.0)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path, default=KEPT)
    parser.add_argument("--render", action="store_true")
    options = parser.parse_args()
    if not options.render:
        device = torch.device(options.device)
        if device.type == "cuda" and not torch.cuda.is_available():
            raise SystemExit("there is no CUDA device here; --device cpu --quick --out FILE rehearses")
        torch.set_num_threads(1)
        carry_out(
            options.only, Setting(device, options.quick, options.out.resolve().parent), options.out, options.seconds
        )
    if options.out == KEPT:
        found = json.loads(KEPT.read_text()) if KEPT.exists() else {}
        (RESULTS / "gpu.md").write_text(with_opening("gpu", page(found, PARTS)), encoding="utf-8")


if __name__ == "__main__":
    main()
