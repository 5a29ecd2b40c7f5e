"""A gallery in a file: enrol, search, rename, expire, rebuild, export and import."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgefr.errors import EdgefrError, LockedError, UnavailableError
from edgefr.gallery.crypto.encryption import DamagedError
from edgefr.gallery.crypto.key_wrapping import NoSecret, Passphrase
from edgefr.gallery.factory import open_gallery
from edgefr.gallery.file_gallery import FileGallery
from edgefr.gallery.model_binding import ModelBinding
from edgefr.gallery.pin import GalleryState
from edgefr.gallery.rebuild import rebuild
from edgefr.gallery.records import Event
from edgefr.gallery.search import memory_index
from edgefr.gallery.search.int8_index import Block
from edgefr.gallery.transfer import Export, export_gallery, import_people
from edgefr.io.files import sha256_of
from edgefr.manifest import Manifest
from edgefr.recognition.template_fusion import inverse_variance, weighted_mean
from edgefr.recognition.verifier import Verifier
from tests.gallery.people import BINDING, new_gallery, sample, unit, verifier

SECRET = Passphrase("correct horse", cost=1 << 14)


@pytest.fixture
def gallery(tmp_path: Path):
    opened, _ = new_gallery(tmp_path, NoSecret())
    with opened:
        yield opened


def test_open_gallery_takes_a_path_and_a_secret(gallery: FileGallery, tmp_path: Path) -> None:
    gallery.enrol("Ada", [sample(1)])
    with open_gallery(str(gallery.path), NoSecret()) as again:
        assert again.names() == ["Ada"]
    with pytest.raises(LockedError, match=r"expected no secret for .*, found another kind of secret"):
        open_gallery(gallery.path, SECRET)


def test_a_template_is_fused_by_uncertainty_over_all_enrolments(gallery: FileGallery) -> None:
    sure, unsure = replace(sample(1), uncertainty=-3.0), replace(sample(2), uncertainty=0.0)
    gallery.enrol("Ada", [sure])
    gallery.enrol("Ada", [unsure])
    weights = inverse_variance(np.float32([-3, 0]))
    expected = weighted_mean(np.stack([sure.embedding, unsure.embedding]), weights)
    np.testing.assert_allclose(gallery.person("Ada").template, expected, atol=1e-6)
    assert gallery.search(expected, 1)[0].similarity == pytest.approx(1, abs=1e-6)


def test_without_uncertainty_images_are_weighted_by_norm(gallery: FileGallery) -> None:
    samples = [replace(sample(n), uncertainty=None, norm=float(n)) for n in (1, 5)]
    gallery.enrol("Ada", samples)
    expected = weighted_mean(np.stack([unit(1), unit(5)]), np.float32([1, 5]))
    np.testing.assert_allclose(gallery.person("Ada").template, expected, atol=1e-6)


def test_a_search_returns_the_best_names_first_without_cached_templates(
    gallery: FileGallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_index, "MAX_CACHED", 3)
    for number in range(9):
        gallery.enrol(f"person {number}", [sample(number)])
    for number in range(9):
        similarity = np.stack([unit(other) for other in range(9)]) @ unit(number)
        found = gallery.search(unit(number), 4)
        assert [hit.name for hit in found] == [f"person {other}" for other in np.argsort(-similarity)[:4]]


def test_a_renamed_person_is_found_by_the_new_name_only(gallery: FileGallery) -> None:
    gallery.enrol("Ada", [sample(1)])
    gallery.enrol("Grace", [sample(2)])
    gallery.rename("Ada", "  Ada Lovelace ")
    assert gallery.search(unit(1), 1)[0].name == "Ada Lovelace"
    with pytest.raises(EdgefrError, match="Ada is not enrolled"):
        gallery.person("Ada")
    with pytest.raises(EdgefrError, match="Ada Lovelace is enrolled already"):
        gallery.rename("Grace", "Ada Lovelace")


@pytest.mark.parametrize("name", ["", "   ", "x" * 201, "a\nb", "\x1b[31mred"])
def test_a_name_that_is_not_printable_is_refused(gallery: FileGallery, name: str) -> None:
    with pytest.raises(EdgefrError, match="printable"):
        gallery.enrol(name, [sample(1)])


def test_one_name_in_two_unicode_forms_is_one_person(gallery: FileGallery) -> None:
    gallery.enrol("Jose\u0301", [sample(1)])
    gallery.enrol("Jos\u00e9", [sample(2)])
    assert gallery.names() == ["Jos\u00e9"]


def test_an_expired_person_is_found_again_after_the_clock_is_set_back(
    gallery: FileGallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery.enrol("Ada", [sample(1)], expires_in_s=3600)
    gallery.enrol("Grace", [sample(2)])
    now = gallery.person("Ada").enrolled
    for after, found in ((3601, ["Grace"]), (3000, ["Ada", "Grace"]), (4000, ["Grace"])):
        monkeypatch.setattr("edgefr.gallery.search.memory_index.time.time", lambda at=now + after: at)
        assert gallery.names() == found
        assert sorted(hit.name for hit in gallery.search(unit(1), 5)) == found
    gallery.re_embed_all(gallery.binding, lambda _name, samples: samples)  # Ada's record stays readable
    monkeypatch.setattr("edgefr.gallery.search.memory_index.time.time", lambda: now)
    assert gallery.search(unit(1), 1)[0].name == "Ada"


class CountingDates(dict[int, float]):
    """Counts how often all dates are compared."""

    comparisons = 0

    def items(self):
        self.comparisons += 1
        return super().items()


def test_a_search_compares_no_dates_before_the_next_expiry(
    gallery: FileGallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery.enrol("Grace", [sample(2)], expires_in_s=7200)
    gallery.enrol("Ada", [sample(1)], expires_in_s=3600)
    dates = gallery._index._expires = CountingDates(gallery._index._expires)
    for _ in range(3):
        gallery.search(unit(1), 1)
    assert dates.comparisons == 0
    now = gallery.person("Ada").enrolled
    monkeypatch.setattr("edgefr.gallery.search.memory_index.time.time", lambda: now + 3700)
    assert gallery.names() == ["Grace"]
    assert gallery.names() == ["Grace"]
    comparisons = dates.comparisons
    assert gallery.names() == ["Grace"]
    assert dates.comparisons == comparisons
    monkeypatch.setattr("edgefr.gallery.search.memory_index.time.time", lambda: now + 7300)
    assert gallery.names() == []


def test_a_rebuild_copies_each_block_once(gallery: FileGallery, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        gallery.enrol(f"person {number}", [sample(number)])
    copies, chosen = [], Block.select
    monkeypatch.setattr(Block, "select", lambda block, rows: copies.append(rows) or chosen(block, rows))
    gallery.re_embed_all(gallery.binding, lambda _name, _samples: [sample(77)])
    assert len(copies) == 1
    assert [hit.similarity for hit in gallery.search(unit(77), 5)] == pytest.approx([1] * 5, abs=1e-5)


def bound_to_engine(folder: Path, precision: str, converted: bytes | None = None) -> ModelBinding:
    """The binding to an engine in a folder of its own, as `edgefr build-engine` leaves it."""
    folder.mkdir()
    model, made = folder / "engine.blob", verifier()
    model.write_bytes(folder.name.encode())
    if converted is not None:
        (folder / "model.onnx").write_bytes(converted)
    manifest = Manifest("engine", "mobilefacenet", engine={"key": {"onnx": "5" * 64, "precision": precision}})
    return ModelBinding.of(Verifier(made.detector, made.recogniser, manifest, model))


def test_an_engine_that_is_built_again_keeps_its_gallery(tmp_path: Path) -> None:
    before, after = (bound_to_engine(tmp_path / name, "bf16") for name in ("before", "after"))
    assert (after, after.model, after.model_sha256) == (before, "mobilefacenet", "5" * 64)


def test_an_int8_engine_is_bound_to_its_calibration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgefr.gallery.model_binding.model_digest", sha256_of)
    one, again, other = (
        bound_to_engine(tmp_path / name, "int8", content)
        for name, content in (("one", b"some faces"), ("again", b"some faces"), ("other", b"other faces"))
    )
    assert one == again
    assert one.model_sha256[:12] != other.model_sha256[:12]  # all that an error shows of the digest
    with pytest.raises(EdgefrError, match="Copy the engine's whole folder"):
        bound_to_engine(tmp_path / "alone", "int8")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"model_sha256": "1" * 64}, "the model"),
        ({"detector": "scrfd"}, "the detector"),
        ({"alignment": "other"}, "the alignment"),
        ({"precision": "int8"}, "the precision"),
    ],
)
def test_other_models_are_refused_with_advice(change, named: str) -> None:
    with pytest.raises(EdgefrError, match=f"expected {named}.*rebuild --model"):
        BINDING.require_compatible(replace(BINDING, **change), Path("people.gallery"))


def test_compatible_precisions_can_be_mixed() -> None:
    BINDING.require_compatible(replace(BINDING, precision="bf16"), Path("people.gallery"))


def test_a_rebuild_embeds_the_kept_crops_again(tmp_path: Path) -> None:
    made = verifier()
    old = replace(ModelBinding.of(made), model="another", model_sha256="1" * 64)
    gallery, secret = new_gallery(tmp_path, binding=old)
    kept = [replace(sample(n, crop=True), embedding=unit(n, old.embedding_dim)) for n in (1, 2)]
    gallery.enrol("Ada", kept)
    rebuild(gallery, made, lambda _count: None)
    crops = np.stack([one.crop for one in kept if one.crop is not None])
    found = made.recogniser.embed(crops)
    gallery.close()
    with FileGallery.open(gallery.path, secret) as again:
        again.binding.require_compatible(ModelBinding.of(made), again.path)
        np.testing.assert_array_equal([one.embedding for one in again.samples("Ada")], found.embedding)
        assert again.orphan_images() == 0
        assert found.uncertainty is not None
        expected = weighted_mean(found.embedding, inverse_variance(found.uncertainty))
        np.testing.assert_allclose(again.person("Ada").template, expected, atol=1e-6)


def test_a_rebuild_without_all_crops_changes_nothing(tmp_path: Path) -> None:
    made = verifier()
    gallery, _ = new_gallery(tmp_path, binding=replace(ModelBinding.of(made), model_sha256="1" * 64))
    dim = made.recogniser.embedding_dim
    gallery.enrol("Ada", [replace(sample(1, crop=True), embedding=unit(1, dim))])
    gallery.enrol("Grace", [replace(sample(2), embedding=unit(2, dim))])
    with pytest.raises(EdgefrError, match=r"found 1 missing for Grace\. .*--keep-crops"):
        rebuild(gallery, made, lambda _count: None)
    assert gallery.binding.model_sha256 == "1" * 64
    np.testing.assert_array_equal(gallery.samples("Ada")[0].embedding, unit(1, dim))
    gallery.close()


def exported(gallery: FileGallery, folder: Path) -> Path:
    for number, name in enumerate(("Ada", "Grace", "Emmy")):
        gallery.enrol(name, [sample(number, f"{name}.jpg", crop=number == 0), sample(number + 10)], expires_in_s=None)
    assert export_gallery(gallery, folder / "people.export", SECRET, lambda _count: None) == 3
    return folder / "people.export"


def test_an_import_brings_all_people_with_all_images(gallery: FileGallery, tmp_path: Path) -> None:
    path = exported(gallery, tmp_path)
    assert b"Grace" not in path.read_bytes()
    (tmp_path / "other").mkdir()
    other, _ = new_gallery(tmp_path / "other")
    assert import_people(other, Export(path, SECRET), lambda _count: None) == 3
    for name in gallery.names():
        assert [str(one) for one in other.samples(name)] == [str(one) for one in gallery.samples(name)]
        np.testing.assert_array_equal(other.person(name).template, gallery.person(name).template)
        assert other.person(name).enrolled == gallery.person(name).enrolled
    other.close()


def test_an_import_with_a_name_that_is_taken_enrols_nobody(gallery: FileGallery, tmp_path: Path) -> None:
    path = exported(gallery, tmp_path)
    (tmp_path / "other").mkdir()
    other, _ = new_gallery(tmp_path / "other")
    other.enrol("Emmy", [sample(99)])
    with pytest.raises(EdgefrError, match=r"Emmy is enrolled in .* already"):
        import_people(other, Export(path, SECRET), lambda _count: None)
    assert (other.names(), other.orphan_images()) == (["Emmy"], 0)
    other.close()


def test_an_import_from_another_model_is_refused(gallery: FileGallery, tmp_path: Path) -> None:
    path = exported(gallery, tmp_path)
    (tmp_path / "other").mkdir()
    other, _ = new_gallery(tmp_path / "other", binding=replace(BINDING, model_sha256="1" * 64))
    with pytest.raises(EdgefrError, match="expected the model"):
        import_people(other, Export(path, SECRET), lambda _count: None)
    other.close()


def test_a_changed_or_shortened_export_enrols_nobody(gallery: FileGallery, tmp_path: Path) -> None:
    path = exported(gallery, tmp_path)
    content = path.read_bytes()
    (tmp_path / "other").mkdir()
    other, _ = new_gallery(tmp_path / "other")
    rng = np.random.default_rng(0)
    bad = [content[: len(content) * part // 4] for part in range(4)]
    chunk = content.index(b"\n") + 1  # after the lock, because every attempt at it takes long
    for offset in rng.integers(chunk, len(content), 10):
        bad.append(content[:offset] + bytes([content[offset] ^ 1]) + content[offset + 1 :])
    for wrong in bad:
        path.write_bytes(wrong)
        with pytest.raises(EdgefrError):
            import_people(other, Export(path, SECRET), lambda _count: None)
        assert len(other) == 0
    path.write_bytes(content)
    with pytest.raises(EdgefrError, match="expected the passphrase"):
        Export(path, Passphrase("incorrect horse"))
    assert import_people(other, Export(path, SECRET), lambda _count: None) == 3
    other.close()


def test_an_export_without_its_last_people_is_refused(gallery: FileGallery, tmp_path: Path) -> None:
    """Without complete chunks only the trailer does not match."""
    path = exported(gallery, tmp_path)
    content = path.read_bytes()
    at, ends = content.index(b"\n") + 1, []
    while at < len(content):
        at += 4 + int.from_bytes(content[at : at + 4], "big")
        ends.append(at)
    path.write_bytes(content[: ends[-3]] + content[ends[-2] :])
    (tmp_path / "other").mkdir()
    other, _ = new_gallery(tmp_path / "other")
    with pytest.raises(DamagedError):
        import_people(other, Export(path, SECRET), lambda _count: None)
    assert len(other) == 0
    other.close()


def test_an_export_fails_if_the_gallery_is_rebuilt_meanwhile(gallery: FileGallery, tmp_path: Path) -> None:
    for number, name in enumerate(("Ada", "Grace")):
        gallery.enrol(name, [sample(number)])

    def rebuilt(_count: int) -> None:
        gallery.re_embed_all(replace(gallery.binding, model_sha256="1" * 64), lambda _name, samples: samples)

    path = tmp_path / "people.export"
    with pytest.raises(EdgefrError, match=r"was rebuilt during the export\. Run `edgefr gallery export` again"):
        export_gallery(gallery, path, SECRET, rebuilt)
    assert not path.exists()


def test_another_process_that_only_logs_makes_nobody_read_the_people_again(
    gallery: FileGallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery.enrol("Ada", [sample(1)])
    loads, load = [], FileGallery._load
    with open_gallery(gallery.path, NoSecret()) as other:
        monkeypatch.setattr(FileGallery, "_load", lambda one: loads.append(one) or load(one))
        other.log([Event.now("matched", "Ada")])
        assert [hit.name for hit in gallery.search(unit(1), 1)] == ["Ada"]
        gallery.log([Event.now("matched", "Ada")])
        assert loads == []
        other.enrol("Grace", [sample(2)])
        assert gallery.names() == ["Ada", "Grace"]
        other.remove("Ada")
        gallery.log([Event.now("matched", "Grace")])
        assert [hit.name for hit in gallery.search(unit(1), 5)] == ["Grace"]
    assert len(loads) >= 2
    assert [event.what for event in gallery.events()].count("matched") == 3


def test_a_clock_that_is_set_back_does_not_bring_back_whom_another_process_has_removed(
    gallery: FileGallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a person was taken for a damaged row, and the gallery failed until it was opened again."""
    for number, name in enumerate(("Ada", "Grace")):
        gallery.enrol(name, [sample(number)], expires_in_s=3600)
    now = time.time()
    with open_gallery(gallery.path, NoSecret()) as other:
        monkeypatch.setattr("edgefr.gallery.search.memory_index.time.time", lambda: now + 3700)
        assert gallery.names() == other.names() == []
        other.remove("Ada")
        monkeypatch.setattr("edgefr.gallery.search.memory_index.time.time", lambda: now)
        assert gallery.names() == ["Grace"]
        assert [hit.name for hit in gallery.search(unit(0), 5)] == ["Grace"]


def test_a_failure_after_a_removal_does_not_leave_the_person_in_the_index(
    gallery: FileGallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk fails when the pin reads the state of the gallery: the removal is on the disk by then."""
    for number, name in enumerate(("Ada", "Grace")):
        gallery.enrol(name, [sample(number)])

    def fail() -> GalleryState:
        raise UnavailableError("", "disk I/O error", "repair the disk")

    with monkeypatch.context() as failing:
        failing.setattr(gallery._store, "state", fail)
        with pytest.raises(UnavailableError):
            gallery.remove("Ada")
    assert gallery.names() == ["Grace"]
    assert [hit.name for hit in gallery.search(unit(0), 5)] == ["Grace"]
