"""The page serves the watcher that the camera's tests use."""

from tests.camera.conftest import door, gallery, served, verifier, watcher  # noqa: F401
