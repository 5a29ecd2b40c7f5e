"""What a wheel contains beside the code."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from edgefr import __version__
from edgefr.models import SHIPPED, shipped_model
from tests.conftest import REPOSITORY

pytest.importorskip("hatchling")

BUILD = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built by the installed backend without a network."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-c", BUILD, str(folder)]
    built = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True)
    assert [path.name for path in folder.iterdir()] == [built.stdout.split()[-1]], "nothing else is left"
    return folder / built.stdout.split()[-1]


def test_a_wheel_contains_a_bill_of_materials(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if "/sboms/" in name]
        bill = json.loads(archive.read(name))
        requirements = re.findall(r"^Requires-Dist: (\S+?)[\[<>=~;! ]", _metadata(archive), re.MULTILINE)
    assert name == f"edgefr-{__version__}.dist-info/sboms/edgefr.cdx.json"
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert re.fullmatch(r"urn:uuid:[0-9a-f-]{36}", bill["serialNumber"])
    assert bill["metadata"]["component"]["purl"] == f"pkg:pypi/edgefr@{__version__}"
    components = {component["name"]: component for component in bill["components"]}
    assert {"numpy", "cryptography", "opencv-python", "onnxruntime", "torch"} <= components.keys()
    assert components["numpy"]["scope"] == "required"
    assert components["torch"]["scope"] == "optional"
    assert {name for name, entry in components.items() if entry["type"] == "library"} <= set(
        map(str.lower, requirements)
    )
    for model in SHIPPED:
        digest = hashlib.sha256(shipped_model(model).read_bytes()).hexdigest()
        assert components[model]["hashes"] == [{"alg": "SHA-256", "content": digest}]
    references = [component["bom-ref"] for component in bill["components"]]
    assert len(set(references)) == len(references)
    assert bill["dependencies"] == [{"ref": bill["metadata"]["component"]["bom-ref"], "dependsOn": references}]


def _metadata(archive: zipfile.ZipFile) -> str:
    return archive.read(f"edgefr-{__version__}.dist-info/METADATA").decode()


def test_a_wheel_contains_the_models_and_no_tests(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {f"edgefr/assets/{file}" for file in SHIPPED.values()} <= names
    assert not [name for name in names if name.startswith(("tests/", "bench/", "hatch_build"))]
