"""Whether a noisy series rises: Kendall's rank test on block means, whatever the distribution of the noise.

Source: Mann 1945, Kendall 1975. Successive rows of a training resemble each other, which makes the plain test see
trends everywhere; means of long blocks hardly do.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

BLOCKS = 10
"""Block means per window."""
LEVEL = 0.001
"""Largest probability with which a series without trend is taken for a rising one, at one look."""


def block_means(values: Sequence[float]) -> list[float]:
    """Return the means of consecutive, equally long parts; left-over values at the beginning are left out."""
    length = len(values) // BLOCKS
    kept = values[len(values) - BLOCKS * length :]
    return [sum(kept[k * length : (k + 1) * length]) / length for k in range(BLOCKS)]


def rises(means: Sequence[float]) -> bool:
    """Return whether the order of the means is that of a rising series at ``LEVEL``."""
    concordance = sum(
        (later > earlier) - (later < earlier) for index, later in enumerate(means) for earlier in means[:index]
    )
    return chance(concordance, len(means)) <= LEVEL


@cache
def chance(concordance: int, count: int) -> float:
    """Return the probability that ``count`` values in random order are at least so much in rising order.

    Args:
        concordance: Pairs in rising order minus pairs in falling order.
        count: Number of values.
    """
    # Number of orders by their number of rising pairs: the k-th value forms 0 to k - 1 of them with those before it.
    orders = [1]
    for k in range(1, count + 1):
        orders = [
            sum(orders[pairs - new] for new in range(k) if 0 <= pairs - new < len(orders))
            for pairs in range(len(orders) + k - 1)
        ]
    most = len(orders) - 1
    return sum(number for pairs, number in enumerate(orders) if 2 * pairs - most >= concordance) / sum(orders)


def growth(means: Sequence[float]) -> float:
    """Return by which share of its level the series has grown, from the first third of the means to the last."""
    third = len(means) // 3
    before, after = sum(means[:third]) / third, sum(means[-third:]) / third
    return (after - before) / max(abs(before), 1e-9)
