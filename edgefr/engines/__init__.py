"""Builds engines from a model, and compares them with it."""
