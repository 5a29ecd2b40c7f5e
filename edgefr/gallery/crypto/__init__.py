"""Encryption of galleries and wrapping of their keys."""
