"""``docs/results/gpu.md``, from the figures alone."""

from __future__ import annotations

from collections.abc import Mapping

from gpus.part import Figures, Part


def page(found: Mapping[str, Figures], parts: Mapping[str, Part]) -> str:
    rows = [f"| {name} | {part.about} | {_said(found.get(name))} |" for name, part in parts.items()]
    machines = sorted({figures["machine"] for figures in found.values()})
    return "\n".join([
        "# On a GPU",
        "",
        *_summary(found, parts),
        "",
        "| part | question | found |",
        "|---|---|---|",
        *rows,
        "",
        '"Here" is the CPU, "there" the accelerator. Differences are the largest ones, relative to the largest value.',
        "",
        *[f"Machine: {machine}" for machine in machines],
        *([""] if machines else []),
        "`python benchmarks/gpu.py`; without a GPU, `python benchmarks/gpu.py --device cpu --quick --out FILE` goes",
        "the same way with the CPU in its place.",
        "",
    ])  # fmt: skip


def _summary(found: Mapping[str, Figures], parts: Mapping[str, Part]) -> list[str]:
    claims = [figures["ok"] for figures in found.values() if "ok" in figures]
    if not found:
        return ["**It has not been run on a GPU yet.** What stands below are the questions."]
    return [f"{sum(claims)} of {len(claims)} questions that have an answer are answered by yes; "
            f"{len(found)} of {len(parts)} parts were run."]  # fmt: skip


def _said(figures: Figures | None) -> str:
    if figures is None:
        return "not run"
    if "error" in figures:
        return f"failed: {figures['error']}"
    told = "; ".join(
        f"{key}: {_text(value)}" for key, value in figures.items() if key not in ("ok", "machine", "wall_s")
    )
    answer = {True: "**yes**; ", False: "**no**; ", None: ""}[figures.get("ok")]
    return f"{answer}{told}"


def _text(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_text(one)}" for key, one in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)
