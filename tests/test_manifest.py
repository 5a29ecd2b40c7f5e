"""Manifests survive their own writing, and no artifact is ever half-written."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgefr.errors import EdgefrError
from edgefr.manifest import Manifest, Threshold, model_manifest, read_manifest, sha256_of, write_manifest, written_whole

FINITE = st.floats(-1, 1)
THRESHOLDS = st.builds(Threshold, FINITE, FINITE, st.tuples(FINITE, FINITE), st.text(), st.text())


@settings(max_examples=30)
@given(st.builds(Manifest, st.text(), st.text(), thresholds=st.lists(THRESHOLDS).map(tuple)))
def test_a_manifest_comes_back_from_json(manifest: Manifest) -> None:
    assert Manifest.from_json(manifest.to_json(), "test") == manifest


@given(st.text())
def test_other_text_is_refused_in_a_sentence(text: str) -> None:
    with pytest.raises(EdgefrError, match="expected an edgefr manifest"):
        Manifest.from_json(text, "test")


@pytest.mark.parametrize("text", ["{}", "[]", "null", '{"thresholds": 3}', '{"kind": "x", "thresholds": [], "?": 1}'])
def test_other_json_is_refused_in_a_sentence(text: str) -> None:
    with pytest.raises(EdgefrError, match="expected an edgefr manifest"):
        Manifest.from_json(text, "test")


def test_a_manifest_lies_beside_its_artifact(tmp_path: Path) -> None:
    artifact = tmp_path / "model.onnx"
    assert read_manifest(artifact) is None
    write_manifest(artifact, Manifest("onnx", "x"))
    assert (tmp_path / "model.onnx.json").is_file()
    assert read_manifest(artifact) == Manifest("onnx", "x")


def test_half_a_model_file_is_refused_in_a_sentence(tmp_path: Path) -> None:
    """A download that was cut off: the graph announces more bytes than there are."""
    path = tmp_path / "model.onnx"
    path.write_bytes(b"\x08\x0a\x3a\x80\x80\x04" + b"x" * 500)
    with pytest.raises(EdgefrError, match="it ends too early"):
        model_manifest(path)


def test_the_manifest_inside_a_model_beats_one_left_beside_it(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    path = tmp_path / "model.onnx"
    model = onnx.helper.make_model(onnx.helper.make_graph([], "g", [], []))
    entry = model.metadata_props.add()
    entry.key, entry.value = "edgefr", Manifest("onnx", "inside").to_json()
    onnx.save(model, path)
    write_manifest(path, Manifest("onnx", "an older model's"))
    assert model_manifest(path).name == "inside"


def test_the_threshold_of_a_precision_else_of_fp32() -> None:
    fp32, bf16 = (
        Threshold(1e-3, value, (0, 1), "x", precision) for value, precision in ((0.3, "fp32"), (0.31, "bf16"))
    )
    manifest = Manifest("onnx", "x", thresholds=(bf16, fp32))
    assert manifest.threshold_for("bf16") == bf16
    assert manifest.threshold_for("fp32") == fp32
    assert manifest.threshold_for("int8") == fp32
    assert Manifest("onnx", "x").threshold_for("fp32") is None


def test_an_output_that_is_a_folder_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(EdgefrError, match="it is a folder"), written_whole(tmp_path):
        raise AssertionError("no work should start")


def test_a_failed_writing_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def fail() -> None:
        with written_whole(path) as temporary:
            temporary.write_bytes(b"half of the ne")
            raise RuntimeError("power loss")

    with pytest.raises(RuntimeError, match="power loss"):
        fail()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_whole_writing_replaces_the_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.bin"
    with written_whole(path) as temporary:
        assert not path.exists()
        temporary.write_bytes(b"new")
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o044, "an artifact is readable by others, as the umask says"


def test_a_folder_that_cannot_be_made_is_an_error_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(EdgefrError, match="choose another"), written_whole(tmp_path / "file" / "a.bin"):
        raise AssertionError("no work should start")


def test_sha256_is_the_files(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(bytes(range(256)) * 10_000)
    assert sha256_of(path) == hashlib.sha256(path.read_bytes()).hexdigest()
