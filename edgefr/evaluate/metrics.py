"""How often decisions are right, with intervals over people rather than pairs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Bools = npt.NDArray[np.bool_]

BOOTSTRAP = 2000


@dataclass(frozen=True)
class Difference:
    """By how much one system's share of right decisions exceeds another's, with its 95 % interval."""

    value: float
    ci95: tuple[float, float]


def accuracy_difference(right: Bools, other: Bools, people: npt.NDArray[np.str_], seed: int = 0) -> Difference:
    """Accuracy of `right` minus that of `other`, (P,) each, on the same pairs; `people` (P, 2) are the pairs' two.

    Paired percentile bootstrap over people: pairs of one person stand or fall together, so counting them as
    independent would promise too much. A pair weighs as often as its people were drawn together.
    """
    _, numbered = np.unique(people, return_inverse=True)
    first, second = numbered.reshape(people.shape).T
    count = int(numbered.max()) + 1
    gain = right.astype(np.float64) - other
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(BOOTSTRAP):
        weight = np.bincount(rng.integers(0, count, count), minlength=count)
        pair = np.where(first == second, weight[first], weight[first] * weight[second])
        drawn.append(float((gain * pair).sum() / max(1, pair.sum())))
    low, high = np.percentile(drawn, (2.5, 97.5))
    return Difference(float(gain.mean()), (float(low), float(high)))
