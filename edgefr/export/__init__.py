"""From checkpoint to ONNX (torch)."""
