"""Training of recognition models."""
