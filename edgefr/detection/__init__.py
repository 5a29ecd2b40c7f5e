"""Face detection: detectors, their registry, and the selection of one face of several."""
