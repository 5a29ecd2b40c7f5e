"""Nearest-neighbour search over templates in memory."""
