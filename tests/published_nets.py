"""Recognisers as other projects publish them, of a few nodes, and pictures of people whom they tell apart."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CELLS = 8


def save_net(
    path: Path,
    channels_last: bool = False,
    size: tuple[int, int] = (112, 112),
    batch: int | str = "batch",
    dtype: int = TensorProto.FLOAT,
    opset: int = 18,
    colours: tuple[float, float, float] = (1, 0, 0),
    outputs: tuple[str, ...] = ("features",),
    smooth: bool = False,
) -> Path:
    """A net that sees one mixture of colours in 8x8 cells, cut off at -1 and 1, as a vector of 64 numbers.

    It recognises people best if its pixels are `(x - 127.5) / 127.5`: larger numbers are cut off, and others are not
    centred. `colours` are the weights of its first, second and third channel. A `smooth` net cuts nothing off.
    """
    kernel = np.array(colours, np.float32).reshape(1, 3, 1, 1)
    cell = (size[0] // CELLS, size[1] // CELLS)
    element = numpy_helper.to_array(helper.make_tensor("x", dtype, [1], [1.0])).dtype if dtype != 2 else np.float32
    weights = {"kernel": kernel, "scale": [0.1 if smooth else 1.0], "low": -1.0, "high": 1.0, "grey": [127.5]}
    floats = {name: np.asarray(values, element) for name, values in weights.items()}
    initializers = [numpy_helper.from_array(values, name) for name, values in floats.items()]
    initializers.append(numpy_helper.from_array(np.array([1, CELLS * CELLS] if batch == 1 else [0, -1]), "flat"))
    nodes = []
    pixels = "data"
    if dtype == TensorProto.UINT8:
        nodes += [
            helper.make_node("Cast", [pixels], ["floats"], to=TensorProto.FLOAT),
            helper.make_node("Sub", ["floats", "grey"], ["centred"]),
            helper.make_node("Div", ["centred", "grey"], ["normalised"]),
        ]
        pixels = "normalised"
    if channels_last:
        nodes.append(helper.make_node("Transpose", [pixels], ["planes"], perm=[0, 3, 1, 2]))
        pixels = "planes"
    limits = {"min": -1.0, "max": 1.0} if opset < 11 else {}
    clip = helper.make_node("Clip", ["scaled"] if limits else ["scaled", "low", "high"], ["map"], **limits)
    nodes += [
        helper.make_node("Conv", [pixels, "kernel"], ["grey_picture"], kernel_shape=[1, 1]),
        helper.make_node("AveragePool", ["grey_picture"], ["cells"], kernel_shape=cell, strides=cell),
        helper.make_node("Mul", ["cells", "scale"], ["scaled"]),
        helper.make_node("Sin", ["scaled"], ["map"]) if smooth else clip,
        helper.make_node("Reshape", ["map", "flat"], [outputs[0]]),
        *(helper.make_node("GlobalAveragePool", ["map"], [name]) for name in outputs[1:]),
    ]
    shape = [batch, *size, 3] if channels_last else [batch, 3, *size]
    kind = dtype if dtype != TensorProto.UINT8 else TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("data", dtype, shape)],
        [helper.make_tensor_value_info(name, kind, None) for name in outputs],
        [tensor for tensor in initializers if any(tensor.name in node.input for node in nodes)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 8
    onnx.save(model, path)
    return path


def save_net_with_map(path: Path, channels: int = 8, stride: int = 14, layers: int = 1, seed: int = 0) -> Path:
    """A net with a feature map `map` of 112 / stride rows and columns, and so many linear layers after it.

    Its embedding has 64 numbers. Without a stride there is no convolution, and so no map.
    """
    rng = np.random.default_rng(seed)
    side = 112 // stride if stride else 112
    inputs = channels * side * side if stride else 3 * side * side
    weights = {f"weight{n}": rng.normal(0, 0.1, (64 if n else inputs, 64)).astype(np.float32) for n in range(layers)}
    nodes, planes = [], "data"
    if stride:
        weights["kernel"] = rng.normal(0, 0.1, (channels, 3, stride, stride)).astype(np.float32)
        sizes = {"kernel_shape": [stride, stride], "strides": [stride, stride]}
        nodes += [
            helper.make_node("Conv", ["data", "kernel"], ["convolved"], **sizes),
            helper.make_node("Tanh", ["convolved"], ["map"]),
        ]
        planes = "map"
    nodes.append(helper.make_node("Flatten", [planes], ["layer0"]))
    nodes += [helper.make_node("MatMul", [f"layer{n}", f"weight{n}"], [f"layer{n + 1}"]) for n in range(layers)]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("data", TensorProto.FLOAT, ["batch", 3, 112, 112])],
        [helper.make_tensor_value_info(f"layer{layers}", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 8
    onnx.save(model, path)
    return path


def answer(path: Path, pixels: Any) -> Any:
    """The first output of a published net for prepared pixels, one picture at a time, flat."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: pixels[i : i + 1]})[0].reshape(1, -1) for i in range(len(pixels))])


def people_zip(path: Path, people: int = 250, pictures: int = 2, noise: float = 60.0) -> Path:
    """Pictures of 112x112: a person is a pattern in red and another one in green, blue is different every time."""
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(path, "w") as archive:
        for person in range(people):
            pattern = rng.uniform(40, 215, (CELLS, CELLS, 3))
            for picture in range(pictures):
                cells = pattern + rng.normal(0, noise, pattern.shape)
                cells[..., 2] = rng.uniform(40, 215, (CELLS, CELLS))
                pixels = np.clip(np.kron(cells, np.ones((14, 14, 1))), 0, 255).astype(np.uint8)
                encoded = cv2.imencode(".png", pixels[..., ::-1])[1]
                archive.writestr(f"person{person:03}/{picture}.png", encoded.tobytes())
    return path
