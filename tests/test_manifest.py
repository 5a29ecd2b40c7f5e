"""Manifests are read as they were written, and no artifact is ever half-written."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgefr.errors import EdgefrError
from edgefr.io.files import atomic_write, sha256_of
from edgefr.io.onnx_file import read_metadata, with_metadata
from edgefr.io.protobuf import encode_field, fields
from edgefr.manifest import (
    HeldOut,
    Manifest,
    Threshold,
    model_digest,
    model_manifest,
    read_manifest,
    write_manifest,
    write_model_manifest,
)

FINITE = st.floats(-1, 1)
RATES = st.none() | st.floats(0, 1)
THRESHOLDS = st.builds(Threshold, RATES, FINITE, st.tuples(FINITE, FINITE), st.text(), st.text(), RATES)


HELD_OUT = st.builds(HeldOut, st.none() | st.text(), st.lists(st.integers(1, 10)).map(tuple), st.text())


@settings(max_examples=30, deadline=None)
@given(
    st.builds(Manifest, st.text(), st.text(), thresholds=st.lists(THRESHOLDS).map(tuple), held_out=st.none() | HELD_OUT)
)
def test_a_manifest_survives_json(manifest: Manifest) -> None:
    assert Manifest.from_json(manifest.to_json(), "test") == manifest


@given(st.text())
def test_other_text_is_refused_in_a_sentence(text: str) -> None:
    with pytest.raises(EdgefrError, match="expected an edgefr manifest"):
        Manifest.from_json(text, "test")


@pytest.mark.parametrize("text", ["{}", "[]", "null", '{"thresholds": 3}', '{"kind": "x", "thresholds": [], "?": 1}'])
def test_other_json_is_refused_in_a_sentence(text: str) -> None:
    with pytest.raises(EdgefrError, match="expected an edgefr manifest"):
        Manifest.from_json(text, "test")


def test_an_older_manifest_without_held_out_people_is_read() -> None:
    manifest = Manifest("onnx", "x", held_out=HeldOut("a", (6, 7), "b"))
    older = json.loads(manifest.to_json())
    assert older.pop("held_out") == {"pairs": "a", "folds": [6, 7], "faces": "b"}
    assert Manifest.from_json(json.dumps(older), "test").held_out is None


@pytest.mark.parametrize("entry", [{"folds": ["x"]}, {"folds": 3}, {}, []])
def test_a_malformed_entry_of_held_out_people_is_refused(entry: object) -> None:
    older = json.loads(Manifest("onnx", "x").to_json()) | {"held_out": entry}
    with pytest.raises(EdgefrError, match="expected an edgefr manifest in test"):
        Manifest.from_json(json.dumps(older), "test")


@pytest.mark.parametrize(
    "entry",
    [
        {"value": float("nan")},
        {"value": float("inf")},
        {"value": 1.01},
        {"value": -2},
        {"ci95": [0.3, float("nan")]},
        {"ci95": [-1.5, 0.3]},
        {"fmr": float("nan")},
        {"fmr": 2},
        {"fmr": -1e-3},
        {"unseen_fmr": float("inf")},
    ],
)
def test_a_threshold_that_no_similarity_can_have_is_refused(entry: dict[str, object]) -> None:
    """NaN would make every answer "different", and -2 every answer "the same"."""
    manifest = json.loads(Manifest("onnx", "x", thresholds=(at(1e-3),)).to_json())
    manifest["thresholds"][0] |= entry
    with pytest.raises(
        EdgefrError, match=r"expected an edgefr manifest in test, found .*(similarity|false match rate)"
    ):
        Manifest.from_json(json.dumps(manifest), "test")


def test_an_older_manifest_without_rates_on_unseen_people_is_read() -> None:
    manifest = Manifest("onnx", "x", thresholds=(at(1e-3),))
    older = json.loads(manifest.to_json())
    assert older["thresholds"][0].pop("unseen_fmr") is None
    assert Manifest.from_json(json.dumps(older), "test") == manifest


def test_a_manifest_is_written_next_to_its_artifact(tmp_path: Path) -> None:
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


def test_the_manifest_inside_a_model_comes_before_the_one_next_to_it(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    path = tmp_path / "model.onnx"
    model = onnx.helper.make_model(onnx.helper.make_graph([], "g", [], []))
    entry = model.metadata_props.add()
    entry.key, entry.value = "edgefr", Manifest("onnx", "inside").to_json()
    onnx.save(model, path)
    write_manifest(path, Manifest("onnx", "an older model's"))
    assert model_manifest(path).name == "inside"


def test_a_precision_without_thresholds_uses_those_of_fp32() -> None:
    fp32, bf16 = (
        Threshold(1e-3, value, (0, 1), "x", precision) for value, precision in ((0.3, "fp32"), (0.31, "bf16"))
    )
    manifest = Manifest("onnx", "x", thresholds=(bf16, fp32))
    assert manifest.threshold_for("bf16") == bf16
    assert manifest.threshold_for("fp32") == fp32
    assert manifest.threshold_for("int8") == fp32
    assert Manifest("onnx", "x").threshold_for("fp32") is None
    assert manifest.thresholds_for("bf16") == [bf16]
    assert manifest.thresholds_for("fp32") == manifest.thresholds_for("int8") == [fp32]


def at(fmr: float | None, precision: str = "fp32", value: float = 0.3) -> Threshold:
    return Threshold(fmr, value, (0, 1), "x", precision)


def test_a_threshold_is_chosen_by_its_rate() -> None:
    manifest = Manifest("onnx", "x", thresholds=(at(1e-2), at(1e-4, "bf16"), at(1e-3), at(1e-4)))
    assert manifest.threshold_for("fp32") == at(1e-3), "1e-3 where it was measured"
    assert manifest.threshold_for("bf16") == at(1e-4, "bf16"), "else the first of the precision"
    assert manifest.threshold_for("bf16", 1e-4) == at(1e-4, "bf16")
    assert manifest.threshold_for("bf16", 1e-2) == at(1e-2), "that of FP32 where the precision has none"
    assert manifest.threshold_for("int8", 1e-4) == at(1e-4)
    assert manifest.threshold_for("fp32", 1e-5) is None
    assert Manifest("onnx", "x", thresholds=(at(None),)).threshold_for("fp32") == at(None)
    assert Manifest("onnx", "x", thresholds=(at(None),)).threshold_for("fp32", 1e-3) is None


def test_new_thresholds_replace_those_of_their_rate_and_precision_only() -> None:
    manifest = Manifest("onnx", "x", trained_on="y", thresholds=(at(1e-2), at(1e-3), at(1e-3, "bf16"), at(None)))
    changed = manifest.with_thresholds((at(1e-3, value=0.4), at(1e-4)))
    assert changed.thresholds == (at(1e-2), at(1e-3, "bf16"), at(None), at(1e-3, value=0.4), at(1e-4))
    assert changed.trained_on == "y"


METADATA = st.dictionaries(st.text(max_size=9).filter(lambda key: key != "edgefr"), st.text(max_size=300), max_size=4)


@settings(max_examples=60, deadline=None)
@given(METADATA, st.binary(max_size=400), st.text(max_size=20_000), st.booleans())
def test_only_the_manifest_changes_in_a_model(others: dict[str, str], graph: bytes, text: str, had_one: bool) -> None:
    entries = [
        encode_field(14, encode_field(1, key.encode()) + encode_field(2, value.encode()))
        for key, value in others.items()
    ]
    before = b"\x08\x8a\x80\x00" + encode_field(7, graph) + b"".join(entries) + b"\xa5\x01abcd"
    old = [encode_field(14, encode_field(2, b"old") + encode_field(1, b"edgefr"))] * had_one
    model = before[:4] + b"".join(old) + before[4:]
    after = b"".join(with_metadata(memoryview(model), "edgefr", text))
    assert read_metadata(memoryview(after)) == {**others, "edgefr": text}
    assert after.startswith(before), "every other byte stays, numbers written at unusual length among them"
    assert [number for number, _, _ in fields(memoryview(after))].count(14) == len(others) + 1


def test_onnx_reads_the_model_whose_manifest_was_rewritten(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    path = tmp_path / "model.onnx"
    model = onnx.helper.make_model(onnx.helper.make_graph([], "g", [], []), producer_name="somebody")
    for key, value in (("author", "me"), ("edgefr", Manifest("onnx", "old").to_json())):
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    onnx.save(model, path)
    new = Manifest("onnx", "new", thresholds=(at(1e-4),))
    write_model_manifest(path, new)
    new = replace(new, model_sha256=model_digest(path))
    assert model_manifest(path) == read_manifest(path) == new
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["model.onnx", "model.onnx.json"]
    found = onnx.load(path)
    onnx.checker.check_model(found)
    assert {entry.key: entry.value for entry in found.metadata_props} == {"author": "me", "edgefr": new.to_json()}
    for either in (model, found):
        del either.metadata_props[:]
    assert found == model


def test_a_large_model_is_copied_without_being_read_into_memory(tmp_path: Path) -> None:
    tracemalloc = pytest.importorskip("tracemalloc")
    path = tmp_path / "model.onnx"
    path.write_bytes(encode_field(7, encode_field(10, bytes(64 << 20))))
    tracemalloc.start()
    write_model_manifest(path, Manifest("onnx", "new"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20
    assert path.stat().st_size > 64 << 20
    assert model_manifest(path).name == "new"


@pytest.mark.parametrize("content", [b"", b"hello, I am text", b"\x72\x03\x0a\x01x", b"\x72\x80\x80\x04half"])
def test_a_file_that_is_not_a_model_is_left_unchanged(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    for work in (lambda: write_model_manifest(path, Manifest("onnx", "x")), lambda: model_manifest(path)):
        with pytest.raises(EdgefrError, match="expected an ONNX model"):
            work()
    assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


def test_the_manifest_of_a_checkpoint_is_only_written_next_to_it(tmp_path: Path) -> None:
    path = tmp_path / "fused.safetensors"
    path.write_bytes(b"weights")
    write_model_manifest(path, Manifest("checkpoint", "x"))
    assert path.read_bytes() == b"weights"
    assert model_manifest(path) == Manifest("checkpoint", "x", model_sha256=model_digest(path))


def test_an_output_that_is_a_folder_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(EdgefrError, match="it is a folder"), atomic_write(tmp_path):
        raise AssertionError("no work should start")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def fail() -> None:
        with atomic_write(path) as temporary:
            temporary.write_bytes(b"half of the ne")
            raise RuntimeError("power loss")

    with pytest.raises(RuntimeError, match="power loss"):
        fail()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_complete_write_replaces_the_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.bin"
    with atomic_write(path) as temporary:
        assert not path.exists()
        temporary.write_bytes(b"new")
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o044, "an artifact is readable by others, as the umask says"


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with (
        pytest.raises(EdgefrError, match=r"cannot be written .* Choose another path"),
        atomic_write(tmp_path / "file" / "a.bin"),
    ):
        raise AssertionError("no work should start")


def test_sha256_is_that_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(bytes(range(256)) * 10_000)
    assert sha256_of(path) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_digest_of_a_model_does_not_depend_on_its_manifest(tmp_path: Path) -> None:
    model, other = tmp_path / "a.onnx", tmp_path / "b.onnx"
    model.write_bytes(encode_field(7, encode_field(2, b"graph")) + encode_field(20, b"more"))
    other.write_bytes(encode_field(7, encode_field(2, b"other")) + encode_field(20, b"more"))
    digest = model_digest(model)
    files = {sha256_of(model)}
    for name in ("first", "second"):
        write_model_manifest(model, Manifest("onnx", name))
        assert model_digest(model) == digest
        files.add(sha256_of(model))
    assert len(files) == 3
    assert model_digest(other) != digest
    weights = tmp_path / "a.safetensors"
    weights.write_bytes(model.read_bytes())
    assert model_digest(weights) == sha256_of(model)


@pytest.mark.parametrize("content", [None, b"", b"\xff" * 9])
def test_other_files_than_onnx_have_no_digest(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "a.onnx").write_bytes(content)
    with pytest.raises(EdgefrError, match=r"expected an ONNX model in|found no file"):
        model_digest(tmp_path / "a.onnx")
