"""Precision conversion of ONNX graphs: FP16 and INT8."""
