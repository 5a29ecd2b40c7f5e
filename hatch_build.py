"""Build hook of hatchling: a software bill of materials (CycloneDX) in every wheel, in .dist-info/sboms (PEP 770)."""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NAME = re.compile(r"[A-Za-z0-9._-]+")
"""The name of a package at the beginning of a requirement."""
MODELS = {"mini.onnx": "Apache-2.0", "spot.onnx": "Apache-2.0"}
"""Files of edgefr/assets that are no source code, and their licences as their cards state them."""


class SbomHook(BuildHookInterface):  # type: ignore[type-arg]
    """Adds the bill of materials to a wheel."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Write the file into the output folder for the time of the build, and name it to hatchling."""
        core = self.metadata.core
        bill = bill_of_materials(Path(self.root), self.metadata.version, core.dependencies, core.optional_dependencies)
        self._file = Path(self.directory) / "edgefr.cdx.json"
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._file.write_text(json.dumps(bill, indent=1) + "\n", encoding="utf-8")
        build_data["sbom_files"].append(str(self._file))

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove the file, which is in the wheel now."""
        self._file.unlink()


def bill_of_materials(
    root: Path, version: str, dependencies: list[str], extras: dict[str, list[str]]
) -> dict[str, Any]:
    """A CycloneDX 1.6 document of the package, its models and the packages that it requires.

    A wheel does not decide which versions are installed, so requirements have no version but the accepted range as a
    property. The document is the same for the same input.

    Args:
        root: The source tree.
        version: Version of edgefr.
        dependencies: Requirements of edgefr itself.
        extras: Requirements of each extra.
    """
    own = f"pkg:pypi/edgefr@{version}"
    required = _requirements({"": dependencies, **{name: extras[name] for name in extras if name != "dev"}})
    components = [_model(root / "edgefr" / "assets" / file, licence) for file, licence in MODELS.items()] + required
    licence = [{"license": {"id": "Apache-2.0"}}]
    content = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": own,
                "name": "edgefr",
                "version": version,
                "purl": own,
                "licenses": licence,
            }
        },
        "components": components,
        "dependencies": [{"ref": own, "dependsOn": [component["bom-ref"] for component in components]}],
    }
    serial = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(content, sort_keys=True))
    return {**content, "serialNumber": f"urn:uuid:{serial}"}


def _model(path: Path, licence: str) -> dict[str, Any]:
    return {
        "type": "machine-learning-model",
        "bom-ref": f"model:{path.stem}",
        "name": path.stem,
        "hashes": [{"alg": "SHA-256", "content": hashlib.sha256(path.read_bytes()).hexdigest()}],
        "licenses": [{"license": {"id": licence}}],
    }


def _requirements(requirements: dict[str, list[str]]) -> list[dict[str, Any]]:
    """A component for each required package, with all requirements of it; "" is edgefr without an extra."""
    found: dict[str, list[dict[str, str]]] = {}
    for extra, lines in requirements.items():
        for line in lines:
            name = NAME.match(line)
            assert name is not None, line
            kind = f"edgefr:extra:{extra}" if extra else "edgefr:requires"
            found.setdefault(name[0].lower(), []).append({"name": kind, "value": line})
    return [
        {
            "type": "library",
            "bom-ref": f"pkg:pypi/{name}",
            "name": name,
            "purl": f"pkg:pypi/{name}",
            "scope": "required" if any(each["name"] == "edgefr:requires" for each in properties) else "optional",
            "properties": properties,
        }
        for name, properties in sorted(found.items())
    ]
