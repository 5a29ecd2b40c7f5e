"""A graph in the words of an older operator set, for parsers that know no newer one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgefr.errors import EdgefrError, require_extra

if TYPE_CHECKING:
    import onnx

NO_AXES = "noop_with_empty_axes"
"""An attribute of reductions that says nothing where axes are given, and that onnx's converter leaves behind."""

OLD_IR = 8
"""The file format of operator sets up to 17."""


def lowered(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """The same graph in operator set `opset`, if it is in a newer one.

    Raises:
        EdgefrError: an operator has no such older form.
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
        raise EdgefrError(
            f"a graph that operator set {opset} can say, as this TensorRT's parser needs",
            f"one that it cannot ({str(error).splitlines()[0][:160]})",
            "use a newer TensorRT",
        ) from error
    return older
