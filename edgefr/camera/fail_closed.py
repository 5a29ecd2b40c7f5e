"""Decide by a gallery that may grow beyond what its model is calibrated for, while a camera is watched."""

from __future__ import annotations

from collections.abc import Callable

from edgefr.errors import NoThresholdError
from edgefr.gallery.identifier import Identification, Identifier
from edgefr.types import Floats


class FailClosedIdentifier:
    """Identifies nobody while no calibrated threshold is strict enough for the gallery, and tells so.

    An enrolment can cause this while a watch runs, and a removal can end it.
    """

    def __init__(self, identifier: Identifier, log: Callable[[str], None]) -> None:
        """Check whether the gallery has a threshold now.

        Args:
            identifier: Gallery and threshold.
            log: Called with a sentence when no threshold is strict enough, and when one is again.

        Raises:
            EdgefrError: The model has no calibrated threshold and none is given, or the gallery cannot be read.
        """
        self._identifier, self._log = identifier, log
        self._has_threshold = True
        try:
            _ = identifier.threshold
        except NoThresholdError as error:
            self._tell(error)

    def decide(self, embedding: Floats) -> Identification:
        """Decide for one embedding, (K,) float32 of unit length. See `Identifier.decide` and `search_only`."""
        try:
            found = self._identifier.decide(embedding)
        except NoThresholdError as error:
            self._tell(error)
            return self._identifier.search_only(embedding)
        self._tell(None)
        return found

    def _tell(self, error: NoThresholdError | None) -> None:
        if self._has_threshold == (error is None):
            return
        self._has_threshold = error is None
        if error is None:
            self._log("a threshold is strict enough for the gallery, so people are identified again")
        else:
            self._log(f"nobody is identified from now on. {error}")
