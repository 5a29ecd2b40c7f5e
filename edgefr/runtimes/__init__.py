"""Runtimes behind one protocol: each is one file of this package and one entry of `runtime_registry.MODULES`."""

from edgefr.runtimes.runtime_registry import FAKE, FEW_IMAGES, available_runtimes, local_target, open_backend

__all__ = ["FAKE", "FEW_IMAGES", "available_runtimes", "local_target", "open_backend"]
