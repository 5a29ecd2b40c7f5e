"""The page serves the watcher of the camera tests."""

from tests.camera.conftest import door, gallery, served, verifier, watcher  # noqa: F401
