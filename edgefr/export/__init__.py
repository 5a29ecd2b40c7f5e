"""Exports checkpoints to ONNX files (needs torch), and models to Triton."""
