"""Models on a Triton Inference Server."""
