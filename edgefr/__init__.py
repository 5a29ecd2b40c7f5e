"""edgefr: accurate face verification for edge devices.

Two frozen face recognition nets are fused and squeezed through a variational information bottleneck
(arXiv 2309.13137), exported as a single ONNX graph and run by onnxruntime or OpenVINO.
"""

__version__ = "0.1.0"
