"""Engines made of a model, and the proof that they still say what the model says."""
