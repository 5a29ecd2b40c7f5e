"""A gallery is opened by other files of the net that it was enrolled with, and by no other net."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgefr.errors import UnavailableError, WrongModelError
from edgefr.gallery.address import Address
from edgefr.gallery.base import Gallery
from edgefr.gallery.crypto.key_wrapping import KeyFile, NoSecret, Passphrase
from edgefr.gallery.embedding_contract import MOST_ACCEPTED, MOST_NUMBERS, SAME_NET, EmbeddingContract
from edgefr.gallery.factory import create_gallery, open_gallery
from edgefr.gallery.file_gallery import FileGallery
from edgefr.gallery.identifier import Identifier
from edgefr.gallery.model_binding import ModelBinding
from edgefr.gallery.model_check import record_model, require_known, require_model
from edgefr.gallery.records import FaceSample
from edgefr.gallery.stores.milvus_rows import MAX_TEXT
from edgefr.gallery.transfer import Export, export_gallery, import_people
from edgefr.manifest import Manifest
from edgefr.recognition.recogniser import Embeddings, Recogniser
from edgefr.recognition.verifier import Verifier
from edgefr.runtimes.base import Array, Description
from edgefr.runtimes.fake import DESCRIPTION, EMBEDDING_DIM, FakeBackend
from edgefr.types import EMBEDDING, INPUT_NAME, NORM, UNCERTAINTY
from tests.gallery.people import StubDetector, thresholds, unit

PAPER = "5" * 64
"""Digest of the file that galleries are enrolled with here."""


class Net(FakeBackend):
    """The fake net as somebody else may have exported it."""

    def __init__(self, change: str = "", precision: str = "fp32") -> None:
        super().__init__()
        self._change, self._precision = change, precision

    def describe(self) -> Description:
        outputs = DESCRIPTION.outputs[: 2 if self._change == "no uncertainty" else 3]
        return replace(DESCRIPTION, precision=self._precision, outputs=outputs)

    def infer(self, inputs: dict[str, Array]) -> dict[str, Array]:
        faces = inputs[INPUT_NAME]
        found = super().infer({INPUT_NAME: faces[..., ::-1].copy() if self._change == "bgr" else faces})
        if self._change == "fine-tuned":
            moved = found[EMBEDDING] + 0.01 * unit(1, EMBEDDING_DIM)
            found[EMBEDDING] = moved / np.linalg.norm(moved, axis=1, keepdims=True)
        if self._change == "rounded":
            moved = found[EMBEDDING] + 1e-3 * unit(1, EMBEDDING_DIM)
            found[EMBEDDING] = moved / np.linalg.norm(moved, axis=1, keepdims=True)
        if self._change == "normalised":
            found[NORM] = np.ones_like(found[NORM])
        if self._change == "other uncertainty":
            found[UNCERTAINTY] = found[UNCERTAINTY] + 1
        return found


def model(digest: str, change: str = "", precision: str = "fp32") -> Verifier:
    """A verifier whose model has this digest."""
    limits = thresholds((1e-2, 0.4), (1e-3, 0.5))
    manifest = Manifest(
        "engine", digest[:1], thresholds=limits, engine={"key": {"onnx": digest, "precision": precision}}
    )
    return Verifier(StubDetector(), Recogniser(Net(change, precision), "a net"), manifest, Path("engine.blob"))


def enrolled(place: Path | Address, verifier: Verifier) -> Gallery:
    gallery = create_gallery(place, NoSecret(), ModelBinding.of(verifier), lambda _text: None)
    record_model(gallery, verifier)
    gallery.enrol("Ada", [FaceSample("a.jpg", unit(1, EMBEDDING_DIM), 20.0, None, 2.5)])
    return gallery


@pytest.fixture
def gallery(place: Path | Address) -> Iterator[Gallery]:
    """A gallery in each kind of store."""
    with enrolled(place, model(PAPER)) as opened:
        yield opened


@pytest.fixture
def in_file(tmp_path: Path) -> Iterator[Gallery]:
    with enrolled(tmp_path / "one.gallery", model(PAPER)) as opened:
        yield opened


def accepted(gallery: Gallery, verifier: Verifier) -> list[str]:
    """The sentences of an opening that is not refused."""
    sentences: list[str] = []
    Identifier(verifier, gallery, on_notice=sentences.append)
    return sentences


def test_the_same_net_from_another_file_is_measured_once_and_logged(place: Path | Address, gallery: Gallery) -> None:
    (sentence,) = accepted(gallery, model("6" * 64, "rounded"))
    assert "enrolled with 5 (555555555555); 6 (666666666666) is accepted because it is the same net" in sentence
    assert re.search(r"\(lowest cosine 1 - \d\.\de-07 of 8 pictures\)", sentence)
    gallery.close()
    with open_gallery(place, NoSecret()) as again:
        assert accepted(again, model("6" * 64, "bgr")) == []  # by its digest: it is not measured again
        assert accepted(again, model(PAPER)) == []
        (event,) = (event for event in again.events() if event.what == "accepted")
        assert event.detail.startswith("6 (666666666666) gives the embeddings of 5 (555555555555): lowest cosine 1 - ")
        assert again.binding.model_sha256 == PAPER
        assert [hit.name for hit in again.search(unit(1, EMBEDDING_DIM))] == ["Ada"]
        (another,) = accepted(again, model("7" * 64))
        assert "7 (777777777777) is accepted" in another


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("bgr", "a lowest cosine of 0"),
        ("fine-tuned", r"a lowest cosine of 0\.999\d+, where one net gives more than 0\.99999"),
        ("normalised", "other norms"),
        ("no uncertainty", "another uncertainty"),
        ("other uncertainty", "another uncertainty"),
    ],
)
def test_another_net_is_refused_with_what_was_measured(in_file: Gallery, change: str, found: str) -> None:
    for _ in range(2):
        with pytest.raises(WrongModelError, match=f"{found}.*rebuild --model"):
            accepted(in_file, model("6" * 64, change))
    assert [event.what for event in in_file.events()] == ["enrolled"]


def test_the_detector_and_the_precision_are_compared_as_ever(in_file: Gallery) -> None:
    other = model("6" * 64)
    other.detector.name = "scrfd"  # type: ignore[misc]
    with pytest.raises(WrongModelError, match="the model"):
        accepted(in_file, other)
    for precision in ("fp16", "int8"):
        with pytest.raises(WrongModelError, match="the model"):
            require_known(in_file, replace(in_file.binding, model_sha256="6" * 64, precision=precision))
    accepted(in_file, model("6" * 64))
    with pytest.raises(WrongModelError, match="the precision"):
        accepted(in_file, model("6" * 64, precision="fp16"))
    with pytest.raises(WrongModelError, match="the detector"):
        accepted(in_file, other)


def test_a_bf16_engine_is_accepted_by_its_file_and_not_measured_itself(in_file: Gallery) -> None:
    with pytest.raises(WrongModelError, match="not in FP32"):
        accepted(in_file, model("6" * 64, precision="bf16"))
    accepted(in_file, model("6" * 64))
    assert accepted(in_file, model("6" * 64, precision="bf16")) == []


def test_a_gallery_without_a_contract_takes_its_own_model_and_no_other(tmp_path: Path) -> None:
    own = model(PAPER)
    with FileGallery.create(tmp_path / "old.gallery", NoSecret(), ModelBinding.of(own)) as gallery:
        assert accepted(gallery, own) == []
        with pytest.raises(WrongModelError, match=r"does not hold what its model computes.*next enrolment"):
            accepted(gallery, model("6" * 64))
        record_model(gallery, model("6" * 64))  # is not the model of the gallery
        assert gallery.contract() is None
        record_model(gallery, own)
        assert len(accepted(gallery, model("6" * 64))) == 1


def test_media_that_cannot_be_written_are_measured_at_every_opening(
    in_file: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise UnavailableError("a file that can be written", "one on read-only media", "make it writable")

    monkeypatch.setattr("edgefr.gallery.stores.sqlite.SqliteStore._require_writable", refuse)
    for _ in range(2):
        assert len(accepted(in_file, model("6" * 64))) == 1
    with pytest.raises(WrongModelError):
        accepted(in_file, model("6" * 64, "bgr"))


def test_a_contract_survives_a_new_key_and_belongs_to_one_model(tmp_path: Path) -> None:
    key = KeyFile.create(tmp_path / "key")
    own = model(PAPER)
    with FileGallery.create(tmp_path / "people.gallery", key, ModelBinding.of(own)) as gallery:
        record_model(gallery, own)
        accepted(gallery, model("6" * 64))
        gallery.rotate(KeyFile.create(tmp_path / "new"))
        assert accepted(gallery, model("6" * 64)) == []
        before = (tmp_path / "people.gallery").read_bytes()
        gallery.re_embed_all(replace(gallery.binding, model_sha256="8" * 64), lambda _name, samples: samples)
        with pytest.raises(WrongModelError, match="does not hold"):
            require_model(gallery, model("6" * 64), print)
    assert b"accepted" not in before


def test_a_contract_of_a_former_key_counts_as_none(in_file: Gallery, tmp_path: Path) -> None:
    """As after `rotate-key` of an older version, which leaves it as it is."""
    with in_file._store._transaction() as database:  # type: ignore[attr-defined]
        database.execute("UPDATE contract SET body = ?", (b"x" * 100,))
    assert accepted(in_file, model(PAPER)) == []
    with pytest.raises(WrongModelError, match="does not hold"):
        accepted(in_file, model("6" * 64))


def test_an_export_of_the_same_net_is_imported_once_its_file_is_known(in_file: Gallery, tmp_path: Path) -> None:
    secret, file = Passphrase("correct horse", cost=1 << 14), tmp_path / "people.export"
    with enrolled(tmp_path / "other.gallery", model("6" * 64)) as other:
        other.rename("Ada", "Grace")
        export_gallery(other, file, secret, lambda _count: None)
    export = Export(file, secret)
    with pytest.raises(WrongModelError):
        import_people(in_file, export, lambda _count: None)
    accepted(in_file, model("6" * 64))
    import_people(in_file, export, lambda _count: None)
    assert in_file.names() == ["Ada", "Grace"]


@pytest.mark.shared
def test_a_checkpoint_and_its_onnx_file_open_the_gallery_of_each_other(shared: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from edgefr.export.native_from_published import native_from_published
    from edgefr.recognition.published.convention import IMAGENET_MEAN, IMAGENET_STD, Convention

    folder, imagenet = shared / "weights/arcface-mobilefacenet", (IMAGENET_MEAN, IMAGENET_STD)
    files = {
        "checkpoint": ("mobilefacenet.pt", None),
        "onnx": ("reference-batch1.onnx", None),
        "bgr": ("reference-batch1.onnx", Convention("bgr", *imagenet)),
    }
    nets = {}
    for name, (source, convention) in files.items():
        native_from_published(folder / source, tmp_path / f"{name}.onnx", None, convention)
        nets[name] = Verifier.open(tmp_path / f"{name}.onnx", runtime="onnxruntime")
    for own, other in (("checkpoint", "onnx"), ("onnx", "checkpoint")):
        with FileGallery.create(tmp_path / f"{own}.gallery", NoSecret(), ModelBinding.of(nets[own])) as gallery:
            record_model(gallery, nets[own])
            (sentence,) = accepted(gallery, nets[other])
            assert re.search(r"lowest cosine 1 - \d\.\de-1\d of 8 pictures", sentence)
            with pytest.raises(WrongModelError, match=r"a lowest cosine of 0\.[67]"):
                accepted(gallery, nets["bgr"])


def test_the_longest_contract_fits_every_store() -> None:
    long = Embeddings(np.ones((1, 16_384), np.float32), np.ones(1, np.float32), None)
    numbers = MOST_NUMBERS // 8
    usual = Embeddings(
        np.full((8, numbers), 1 / 3, np.float32), np.full(8, 1 / 3, np.float32), np.full(8, -1 / 3, np.float32)
    )
    contract = EmbeddingContract("f" * 64, usual)
    for number in range(2 * MOST_ACCEPTED):
        contract = contract.accepting(f"{number:064x}")
    assert len(contract.to_bytes()) < MAX_TEXT * 3 // 4 - 100
    assert contract.accepted[-1] == f"{2 * MOST_ACCEPTED - 1:064x}"
    again = EmbeddingContract.from_bytes(contract.to_bytes())
    assert again is not None
    np.testing.assert_array_equal(again.outputs.embedding, usual.embedding)
    assert again.accepted == contract.accepted
    for broken in (b"", b"{}\n", b"[1]\nxxxx", contract.to_bytes()[:-1], b"[" * 100_000):
        assert EmbeddingContract.from_bytes(broken) is None
    assert len(EmbeddingContract("f" * 64, long).to_bytes()) > MAX_TEXT  # such nets have galleries in files


def test_the_bound_is_that_of_an_engine_in_fp32() -> None:
    from edgefr.engines.parity_gate import FP32

    assert FP32.cosine_min == SAME_NET
