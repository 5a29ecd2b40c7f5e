"""Distil recorded Python surfaces of TensorRT to the enum members that the builder asks for.

    python tests/golden/make_tensorrt_api.py FOLDER

FOLDER holds one VERSION.json for each version, {"enums": {NAME: {MEMBER: VALUE}}, "classes": {...}}; the result is
`tensorrt_api.json` beside this script.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

ENUMS = ("BuilderFlag", "NetworkDefinitionCreationFlag")


def main() -> None:
    found = {}
    for path in sorted(Path(sys.argv[1]).glob("*.json")):
        enums = json.loads(path.read_text())["enums"]
        found[path.stem] = {name: enums.get(name) or {} for name in ENUMS}
    output = Path(__file__).with_name("tensorrt_api.json")
    output.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
