"""Files, locks, pictures and their headers, and the ONNX wire format."""
