"""The HTTP API of `edgefr serve`."""
