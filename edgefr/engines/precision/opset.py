"""Converts a graph to an older operator set, for parsers that do not read newer ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgefr.errors import WrongModelError, require_extra

if TYPE_CHECKING:
    import onnx

NO_AXES = "noop_with_empty_axes"
"""An attribute of reductions that has no effect if axes are given. onnx's converter does not remove it."""

OLD_IR = 8
"""The file format of operator sets up to 17."""


def downgrade_opset(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """Convert a graph to an operator set, unless its own is not newer.

    Raises:
        WrongModelError: An operator does not exist in `opset`.
    """
    if all(entry.version <= opset for entry in model.opset_import if entry.domain == ""):
        return model
    library = require_extra("onnx", "train")
    from onnx import version_converter

    try:
        older: onnx.ModelProto = version_converter.convert_version(model, opset)
        for node in older.graph.node:
            kept = [attribute for attribute in node.attribute if attribute.name != NO_AXES]
            del node.attribute[:]
            node.attribute.extend(kept)
        older.ir_version = OLD_IR
        library.checker.check_model(older)
    except Exception as error:  # the converter's errors are RuntimeErrors, the checker's its own
        raise WrongModelError(
            f"a graph of operator set {opset}, the newest of this TensorRT's parser",
            f"one that cannot be converted ({str(error).splitlines()[0][:160]})",
            "use a newer TensorRT",
        ) from error
    return older
