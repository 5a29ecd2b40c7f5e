"""How often decisions are right, with intervals over people rather than pairs."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgefr.evaluation.bootstrap import Estimate, interval, resampled_sums, share
from edgefr.types import Bools


def accuracy_difference(right: Bools, other: Bools, people: npt.NDArray[Any], seed: int = 0) -> Estimate:
    """Accuracy of `right` minus that of `other`, (P,) each, on the same pairs; `people` (P, 2) are the pairs' two.

    Paired bootstrap over people: what makes a pair hard for both systems does not blur their difference.
    """
    gain = right.astype(np.float64) - other
    sums = resampled_sums(np.column_stack([gain, np.ones(len(gain))]), people, seed)
    return Estimate(float(gain.mean()), interval(share(sums[:, 0], sums[:, 1])))
