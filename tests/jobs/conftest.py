"""Commands run in this process, as in tests/cli."""

from tests.cli.conftest import edgefr

__all__ = ["edgefr"]
