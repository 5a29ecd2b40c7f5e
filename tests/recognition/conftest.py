"""Models and faces that the tests of the runtimes use, too."""

from tests.runtimes.conftest import faces, make_checkpoint, make_model  # noqa: F401
