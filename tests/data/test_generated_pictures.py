"""Generated pictures never change: galleries hold what nets compute from them."""

from __future__ import annotations

import hashlib

import numpy as np

from edgefr.data.generated_pictures import generated_pictures


def test_the_pictures_are_those_that_galleries_were_measured_with() -> None:
    pictures = generated_pictures(8)
    assert (pictures.shape, pictures.dtype) == ((8, 112, 112, 3), np.uint8)
    digest = hashlib.sha256(pictures.tobytes()).hexdigest()
    assert digest == "13e11fec29ecef138d00404b2109d6afe6c6c48f54760fc4ccdbd46a9b25ad5f"
    np.testing.assert_array_equal(pictures[:3], generated_pictures(3))
