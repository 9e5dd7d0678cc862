"""What the document of ``conv3d_meta.py`` claims, and whether it holds."""

from __future__ import annotations

import statistics
from collections.abc import Mapping

from papers.arms import Arms, Budget
from papers.conv3d_arms import EDITS, STRUCTURE, THEIRS, conv2d_of, label, versions
from papers.measured import paired, settled, standard_error
from papers.page import Claim, Verdict


def counted(arms: Arms) -> list[Claim]:
    """Parameters, cuts, and what they are worth."""
    found = {name: arms.of(f"network: {name}", STRUCTURE) for name in THEIRS}
    if not all(found.values()):
        return []
    sizes = {name: int(of[0].figures["parameters"]) for name, of in found.items()}
    equal = sum(sizes[name] == theirs.parameters for name, theirs in THEIRS.items())
    cuts = {name: 100 * (1 - sizes[name] / sizes[conv2d_of(name)]) for name in EDITS}
    as_printed = sum(abs(cuts[name] - THEIRS[name].cut) <= 0.051 for name in EDITS)
    plain = {name: found[conv2d_of(name)][0].figures for name in EDITS}
    fewer = [name for name in EDITS if float(found[name][0].figures["macs"]) < float(plain[name]["macs"])]
    faster = _faster(arms, "network")
    return [
        Claim("The parameters of all twelve networks.", _verdict(equal == 12), f"{equal} of 12 to the unit."),
        Claim(
            "Parameters are cut by 5.3/4.6/69.7 % (T1), 50.5/47.5/18.0 % (T2), 46.2/40.8/3.6 % (T3).",
            _verdict(as_printed == len(EDITS)),
            f"{as_printed} of {len(EDITS)} to the decimal printed.",
        ),
        Claim(
            "Networks with fewer parameters and multiplications are the more economical ones.",
            _verdict(len(faster) == len(EDITS)),
            f"{len(fewer)} of 9 multiply less, {len(faster)} of 9 are faster than their Conv2d network at batch 1"
            f"{': ' + ', '.join(faster) if faster else ''}. As the toolkit rewrites and exports them, "
            f"{len(_faster(arms, 'rewrite'))} of 9 are.",
        ),
    ]


def _faster(arms: Arms, kind: str) -> list[str]:
    """Networks whose interval at batch 1 lies above 1."""
    found = {name: arms.of(f"{kind}: {name}", STRUCTURE) for name in EDITS}
    return [label(name) for name, of in found.items() if of and float(of[0].figures["low 1"]) > 1]


def accuracy_claims(arms: Arms, built: Mapping[str, Budget]) -> list[Claim]:
    claims = []
    for family in ("t1", "t2", "t3"):
        plain = f"{family}-conv2d"
        for name in versions(family)[1:]:
            better = THEIRS[name].accuracy > THEIRS[plain].accuracy
            theirs = (
                f"{label(name)} {'beats' if better else 'loses to'} its Conv2d network: "
                f"{THEIRS[name].accuracy:.2f} against {THEIRS[plain].accuracy:.2f}."
            )
            claims.append(_compared(arms, built.get(family), theirs, name, plain, better))
    return claims


def _compared(arms: Arms, budget: Budget | None, theirs: str, name: str, plain: str, better: bool) -> Claim:
    """Seeds are paired; a difference within two standard errors settles nothing, and is said to."""
    pairs = [] if budget is None else paired(arms, budget, f"built: {name}", f"built: {plain}")
    if budget is None or len(pairs) < 2:
        return Claim(theirs, "not tested", "Fewer than two seeds of each.")
    verdict = settled(pairs if better else [-points for points in pairs])
    difference, error = statistics.mean(pairs), standard_error(pairs)
    ours = f"{difference:+.2f} ± {error:.2f} points (standard error, n = {len(pairs)}) after {budget.text}."
    return Claim(theirs, verdict, ours)


def slips() -> list[Claim]:
    """Errors in the text, with the numbers that show them."""
    channels, outputs = 16, 32
    convolution = (9 * channels + 1) * outputs
    features, groups, mixed, width = 1152, 16, 8, 8
    head = groups * (features // groups * width + width) + groups + groups * mixed + 1
    text = features // groups * width + groups**2
    return [
        Claim(
            "The text's count of a Conv2d's parameters, and the Conv3d that equals a Conv2d.",
            "misprinted",
            f"It is (h·v·C + 1)·D, which for 16 → 32 channels is {convolution:,}, and the case u = C, s = D.",
        ),
        Claim(
            "The sum of the valid Conv3d over the depth of its kernel.",
            "misprinted",
            "It ends at a + u − 1, with a ∈ 1 … C − u + 1.",
        ),
        Claim(
            "A Meta head has (K/G)·L + G² parameters.",
            "misprinted",
            f"The factor G is forgotten: T2's has {head:,} with its slopes and biases, the formula gives {text:,}.",
        ),
        Claim(
            "A Meta head mixes by Meta(G, G) with L = H/G.",
            "misprinted",
            "The networks that were counted have G = 16, M = 8, L = 8 (T2, T3) and G = M = 4, L = 10 (T1).",
        ),
        Claim(
            "The weights of a Meta layer are normalised by a softmax.",
            "misprinted",
            "The code takes it and does not use the result; `normalise` of the plugin offers both.",
        ),
    ]


def _verdict(holds: bool) -> Verdict:
    return "held" if holds else "did not hold"
