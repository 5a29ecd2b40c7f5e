"""Training: a recipe in, a fused checkpoint and its manifest out (torch)."""
