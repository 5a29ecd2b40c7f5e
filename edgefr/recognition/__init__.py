"""Alignment, embeddings and 1:1 verification."""
