"""What the document of ``mnist_lottery.py`` claims, and whether it holds."""

from __future__ import annotations

import statistics

from papers.arms import Arms, Budget, mean_std
from papers.lottery_arms import CONTROLS, LEFT, OWN
from papers.measured import paired, points, settled, worst
from papers.page import Claim

NEEDED = ("dense: a2", "lottery: paper", "lottery: emptied", *(f"control: {name}" for name in CONTROLS))
"""What the document's claims about the lottery rest on."""
CLAIMED = {
    "a1": ("A1 reaches 99.24 %.", 99.1),
    "a2": ("A2 reaches 99.47 %.", 99.3),
    "a3": ("A3 reaches more than 99 %.", 99.0),
}
"""What each network is said to reach, and the percentage that counts as that."""
MISPRINTS = (
    Claim("A1 flattens to 126 features; A2 has one layer of 16.", "misprinted", "350, and two: the counts say so."),
    Claim(
        "The sparsity is 55.777 %.",
        "misprinted",
        "By the counts 55.766 %; 55.777 % is the formula, and every round is rounded down.",
    ),
)


def dense_claims(arms: Arms, budget: Budget) -> list[Claim]:
    return [_dense_claim(arms, budget, name, *claimed) for name, claimed in CLAIMED.items()]


def _dense_claim(arms: Arms, budget: Budget, name: str, text: str, bound: float) -> Claim:
    """A training that is shorter than theirs cannot refute an accuracy."""
    found = [100 * value for value in arms.values(f"dense: {name}", budget, "test")]
    if not found:
        return Claim(text, "not tested", "Not trained.")
    verdict = settled(found, above=bound)
    if budget != OWN and verdict != "held":
        verdict = "not tested"
    return Claim(
        text,
        verdict,
        f"{mean_std(found)} % on test images, after at most {budget.text}; {bound:.1f} counts as reached. Theirs was "
        "trained on 60,000 images, and the test images chose the epoch.",
    )


def lottery_claims(arms: Arms, budget: Budget) -> list[Claim]:
    if not all(arms.of(name, budget) for name in NEEDED):
        return [*MISPRINTS, Claim("All others.", "not tested", "Not every arm has been trained.")]
    test = {name: 100 * statistics.mean(arms.values(name, budget, "test")) for name in NEEDED}
    ticket = arms.of("lottery: paper", budget)[0].figures
    exact = (ticket["weights 1"], ticket["weights 2"], ticket["trainable"]) == (4_176, LEFT, 2_471)
    speedup = float(ticket["speedup"])
    gain, chance, fresh = (
        paired(arms, budget, "lottery: paper", other)
        for other in ("dense: a2", "control: random masks", "control: new weights")
    )
    return [
        Claim(
            "5,220 weights become 4,176, then 2,309; 2,471 trainable parameters remain.",
            "held" if exact else "did not hold",
            f"{ticket['weights 1']:,}, then {ticket['weights 2']:,}; {ticket['trainable']:,} trainable.",
        ),
        *MISPRINTS,
        Claim(
            "The pruned network keeps its accuracy (99.47 → 99.2 %).",
            settled(gain, above=-0.4),
            f"{test['dense: a2']:.2f} → {test['lottery: paper']:.2f} %; {points(gain)}, 0.4 lost at most is keeping.",
        ),
        Claim(
            "It is the first weights and the masks that win.",
            worst((settled(chance), settled(fresh))),
            f"The ticket against random masks: {points(chance)}; against new weights under its own masks: "
            f"{points(fresh)}.",
        ),
        Claim(
            "Fewer parameters make the network faster.",
            "held" if speedup > 1.02 else "did not hold",
            f"{speedup:.2f}× in ONNX Runtime: zeros within a filter are multiplied like any other weight.",
        ),
    ]
