"""From a photograph to an aligned face: read, detect, choose, align."""
