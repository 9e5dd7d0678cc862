"""An order of the outputs in which groups and mix come closer to a dense layer: hidden units may be counted anyhow.

The Meta layer's outputs m·L + l, m = 0 … M − 1, are mixtures of the same L results, so in each group of inputs the rows
of W that share an l have to be multiples of one another, with factors A[g, m] that every l shares. What rank one keeps
of the groups' matrices is

    E = Σ_g σ₁²(W[:, g] as (M, L·n))  =  max over unit A[g]  Σ_l Σ_g ‖ Σ_m A[g, m] · w[m, l, g] ‖²

so rows are gathered into L bundles of M that are alike in every group, up to sign and size, and laid into places m by
the sizes of their factors; then, with A as it is, every row moves to where it adds most to E, and A is taken anew. The
order found is used where it keeps more than the one there was. Rows without structure have nothing to find.
"""

from __future__ import annotations

import torch
from torch import Tensor

PASSES = 4
"""Of moving all rows and taking A anew; planted orders are found in one or two."""


@torch.no_grad()
def better_order(parts: Tensor, mixed: int, least: float, ranks: int = 1) -> Tensor | None:
    """Order of the outputs, (H,), old numbers by new place, that keeps ``least`` more of the energy; None without.

    ``parts``: the layer's rows by group, (G, H, n), in the norm that counts; ``least``: a share of the whole energy;
    ``ranks``: of what is kept. What is looked for is the order best for rank one.
    """
    outputs = parts.shape[1]
    whole = float(parts.square().sum())
    if mixed < 2 or mixed == outputs or whole == 0:
        return None
    order = aligned(parts, bundles(parts, mixed))
    best, most = order, kept_energy(parts[:, order.flatten()], mixed, ranks)
    for _ in range(PASSES):
        order = moved(parts, order)
        found = kept_energy(parts[:, order.flatten()], mixed, ranks)
        if found <= most:
            break
        best, most = order, found
    return best.flatten() if most > kept_energy(parts, mixed, ranks) + least * whole else None


def kept_energy(parts: Tensor, mixed: int, ranks: int = 1) -> float:
    """What so many ranks keep of rows (G, H, n) in their order: Σ σ₁² + … + σ_R²."""
    matrices = parts.reshape(len(parts), mixed, -1)
    return float(torch.linalg.eigvalsh(matrices @ matrices.mT)[:, -ranks:].sum())


def bundles(parts: Tensor, mixed: int) -> Tensor:
    """Rows alike in every group, up to sign and size: (L, M) row numbers; strong rows choose first."""
    likeness = torch.zeros(parts.shape[1], parts.shape[1], dtype=parts.dtype)
    for part in parts:
        likeness += (part @ part.T).abs()
    sizes = likeness.diagonal().clamp_min(1e-12).sqrt()
    likeness = likeness / sizes / sizes[:, None]
    free = torch.ones(len(sizes), dtype=torch.bool)
    found = []
    for row in sizes.argsort(descending=True, stable=True).tolist():
        if free[row]:
            free[row] = False
            chosen = likeness[row].where(free, -1.0).topk(mixed - 1).indices
            free[chosen] = False
            found.append([row, *chosen.tolist()])
    return torch.tensor(found)


def aligned(parts: Tensor, rows: Tensor) -> Tensor:
    """Bundles (L, M) as places (M, L): within each, rows ordered so that the sizes of their factors agree."""
    factors = _factors(parts[:, rows]).abs()  # (G, L, M)
    pattern = factors[:, 0]
    places = []
    for number, bundle in enumerate(rows):
        taken = best_places(factors[:, number].T @ pattern)
        places.append(bundle[taken.argsort()])
    return torch.stack(places, 1)


def moved(parts: Tensor, order: Tensor) -> Tensor:
    """Places (M, L) after each row went where, with A as it is, it adds most."""
    mixed, width = order.shape
    rows = parts[:, order.flatten()].view(len(parts), mixed, width, -1)
    factors = _factors(rows.flatten(2))  # (G, M)
    order = order.clone()
    for place in range(mixed):
        rows = parts[:, order.flatten()].view(len(parts), mixed, width, -1)
        weighted = rows * factors[:, :, None, None]
        others = weighted.sum(1) - weighted[:, place]
        gain = torch.einsum("gin,gjn->ij", weighted[:, place], others)
        taken = best_places(gain)
        order[place, taken] = order[place].clone()
    return order


def _factors(matrices: Tensor) -> Tensor:
    """First left singular vectors of (…, M, K): (…, M)."""
    vectors: Tensor = torch.linalg.eigh(matrices @ matrices.mT)[1]
    return vectors[..., -1]


def best_places(gain: Tensor) -> Tensor:
    """A place for each row of (N, N) gains, the largest gains first, of equal ones the first.

    Pairs that are each other's best are what would be chosen next whatever else is: all of them at once.
    """
    left, places = gain.nan_to_num(), torch.arange(len(gain))
    taken = torch.full_like(places, -1)
    while bool((taken < 0).any()):
        columns, rows = left.argmax(1), left.argmax(0)
        best = (taken < 0) & (rows[columns] == places)
        taken[best] = columns[best]
        left[best], left[:, columns[best]] = -torch.inf, -torch.inf
    return taken
