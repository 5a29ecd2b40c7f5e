"""The user's folder of models: what is stored there, from where, and what is refused."""

from __future__ import annotations

import hashlib
import io
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefr import catalogue as catalogue_module
from edgefr.catalogue import Catalogue, Entry, Pack, PublishedFile
from edgefr.downloads import model_packs
from edgefr.downloads.http_client import LostConnectionError, RefusedError
from edgefr.downloads.model_packs import known_members, unpack
from edgefr.downloads.model_store import Mirror, add_models, get_model, remove_model
from edgefr.downloads.resumable import Advance
from edgefr.errors import EdgefrError, InvalidArgumentError, UnavailableError, WrongModelError
from edgefr.io.run_lock import run_lock
from edgefr.manifest import Manifest, write_model_manifest
from edgefr.models import find_model, stored_model
from tests.detection.models import model_bytes
from tests.downloads.servers import Place, answer, broken_off, running_server

NET = np.random.default_rng(3).bytes(50_000)
OTHER = np.random.default_rng(4).bytes(50_000)


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


NET_FILE = PublishedFile("net_r50.onnx", len(NET), sha256=digest(NET))


def entry(*files: PublishedFile, name: str = "net") -> Entry:
    return Entry(name, "recogniser", "a net", "nobody", "https://models.example", "MIT", "yes", files)


def zip_of(members: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return packed.getvalue()


@contextmanager
def no_progress(title: str, size: int | None) -> Iterator[Advance]:
    yield lambda count: None


@pytest.fixture
def place() -> Iterator[Place]:
    with running_server() as started:
        yield started


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder of models."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("edgefr.downloads.resumable.DELAYS", (0.0, 0.0, 0.0))
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "home/edgefr/models"


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """Gives edgefr another catalogue than its own."""

    def replace_catalogue(*entries: Entry, packs: tuple[Pack, ...] = ()) -> None:
        monkeypatch.setattr(catalogue_module, "catalogue", lambda: Catalogue(packs, entries))
        catalogue_module._names.cache_clear()

    yield replace_catalogue
    catalogue_module._names.cache_clear()


def stored(folder: Path) -> dict[str, bytes]:
    """The files of the folder, without what is kept for unfinished downloads."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def unfinished(folder: Path) -> list[str]:
    return [path.name for path in (folder / ".partial").iterdir() if path.suffix != ".lock"]


def test_a_model_is_stored_under_its_name_and_found_by_it(place: Place, folder: Path, use) -> None:
    net = entry(replace(NET_FILE, url=f"{place.url}/net.onnx"))
    use(net)
    place.files["/net.onnx"] = NET
    with pytest.raises(WrongModelError, match=f"the model net in {folder}, found none. Run `edgefr models get net`"):
        find_model("net")
    assert get_model(net, Mirror(), no_progress) == folder / "net.onnx"
    assert stored(folder) == {"net.onnx": NET}
    assert unfinished(folder) == []
    for name in ("net", "NET", "net_r50", "net-r50"):
        assert find_model(name) == folder / "net.onnx"
    get_model(net, Mirror(), no_progress)
    assert len(place.requests) == 1, "it is there"


def test_a_file_of_the_same_name_comes_before_the_catalogue(
    use, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(entry(NET_FILE))
    monkeypatch.chdir(tmp_path)
    Path("net").mkdir()
    with pytest.raises(WrongModelError):
        find_model("net")
    Path("net").rmdir()
    Path("net").write_bytes(b"")
    assert find_model("net") == Path("net")
    assert find_model("./other") == Path("other")


def test_only_the_wanted_member_of_a_pack_is_unpacked_and_the_pack_is_removed(place: Place, folder: Path, use) -> None:
    content = zip_of({"deep/folder/net_r50.onnx": NET, "../../evil.onnx": OTHER, "/net.txt": b"", "other.onnx": OTHER})
    pack = Pack("pack", f"{place.url}/pack.zip", len(content), digest(content))
    net = entry(replace(NET_FILE, pack="pack"))
    use(net, packs=(pack,))
    place.files["/pack.zip"] = content
    get_model(net, Mirror(), no_progress)
    assert stored(folder) == {"net.onnx": NET}
    assert unfinished(folder) == []
    assert not list(folder.parent.parent.glob("**/evil*"))


def test_the_pack_is_asked_if_the_file_alone_is_gone_or_another(place: Place, folder: Path, use) -> None:
    content = zip_of({"net_r50.onnx": NET})
    pack = Pack("pack", f"{place.url}/pack.zip", len(content), digest(content))
    net = entry(replace(NET_FILE, url=f"{place.url}/net.onnx", pack="pack"))
    use(net, packs=(pack,))
    place.files["/pack.zip"] = content
    for answer_of_first in (None, OTHER):
        if answer_of_first is not None:
            place.files["/net.onnx"] = answer_of_first
        get_model(net, Mirror(), no_progress)
        assert stored(folder) == {"net.onnx": NET}
        remove_model(net)


def test_a_pack_without_the_model_is_an_error(tmp_path: Path) -> None:
    for name, content in (("x.onnx", NET), ("net_r50.onnx", NET[:-1])):
        (tmp_path / "pack.zip").write_bytes(zip_of({name: content}))
        with pytest.raises(WrongModelError, match="found no such member"):
            unpack(tmp_path / "pack.zip", NET_FILE, tmp_path / "net.onnx")
    (tmp_path / "pack.zip").write_bytes(zip_of({"net_r50.onnx": OTHER}))
    with pytest.raises(WrongModelError, match="SHA-256"):
        unpack(tmp_path / "pack.zip", NET_FILE, tmp_path / "net.onnx")
    assert not (tmp_path / "net.onnx").exists()


def test_a_member_that_unpacks_to_more_than_a_model_is_not_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_packs, "MAX_MODEL_BYTES", 1 << 20)
    (tmp_path / "pack.zip").write_bytes(zip_of({"net_r50.onnx": bytes(50 << 20)}))
    written: list[int] = []
    monkeypatch.setattr(model_packs.hashlib, "sha256", lambda: Counting(written))
    with pytest.raises(WrongModelError):
        unpack(tmp_path / "pack.zip", replace(NET_FILE, bytes=None), tmp_path / "net.onnx")
    assert sum(written) <= 1 << 20
    monkeypatch.undo()
    monkeypatch.setattr(model_packs, "MAX_UNPACKED_BYTES", 10 << 20)
    with pytest.raises(WrongModelError, match=r"found more\. Unpack the model and give its file"):
        list(known_members(tmp_path / "pack.zip"))


class Counting:
    """A digest that counts."""

    def __init__(self, counts: list[int]) -> None:
        self.counts = counts

    def update(self, block: bytes) -> None:
        self.counts.append(len(block))

    def hexdigest(self) -> str:
        return ""


@given(st.binary(max_size=200), st.integers(0, 10**6))
def test_a_zip_that_is_damaged_is_one_of_our_errors(tmp_path_factory, damage: bytes, where: int) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.zip"
    content = bytearray(zip_of({"net_r50.onnx": NET[:300], "b.onnx": bytes(300)}))
    start = where % len(content)
    content[start : start + len(damage)] = damage
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        with suppress(EdgefrError):
            list(known_members(path))


def test_a_member_that_begins_before_the_zip_is_one_of_our_errors(tmp_path: Path) -> None:
    content = bytearray(zip_of({"net_r50.onnx": NET}))
    content[-6] += 1  # the offset of the directory, by which those of the members are corrected
    (tmp_path / "pack.zip").write_bytes(content)
    with pytest.raises(WrongModelError, match="a zip of models in"):
        list(known_members(tmp_path / "pack.zip"))


def test_a_mirror_has_the_files_of_a_folder_of_models(place: Place, folder: Path, use) -> None:
    content = zip_of({"net_r50.onnx": NET})
    net = entry(
        replace(NET_FILE, url="https://models.example/net.onnx", pack="pack"),
        PublishedFile("net.bin", 3, sha256=digest(b"bin"), url="https://models.example/net.bin"),
    )
    use(net, packs=(Pack("pack", "https://models.example/pack.zip", len(content), digest(content)),))
    place.files |= {"/models/net.onnx": NET, "/models/net.bin": b"bin"}
    for address in (f"{place.url}/models", f"{place.url}/models/"):
        assert get_model(net, Mirror(address), no_progress) == folder / "net.onnx"
        assert stored(folder) == {"net.onnx": NET, "net.bin": b"bin"}
        (folder / "net.bin").unlink()
        assert stored_model(net) is None, "a part of the model is missing"
        remove_model(net)


@pytest.mark.parametrize(
    "url",
    [
        "models",
        "ftp://localhost/m",
        "file:///m",
        "https://",
        "https://user:secret@localhost/m",
        "http://[",
        "https://h:x",
    ],
)
def test_what_is_no_address_of_a_mirror_is_refused(url: str) -> None:
    with pytest.raises(InvalidArgumentError, match="the address of a mirror such as https://HOST/models"):
        get_model(entry(NET_FILE), Mirror(url), no_progress)


def test_a_mirror_by_http_on_another_machine_has_to_be_allowed() -> None:
    url = "http://models.invalid/m"
    with pytest.raises(InvalidArgumentError, match="or allow it with --allow-http"):
        get_model(entry(NET_FILE), Mirror(url), no_progress)
    with pytest.raises(LostConnectionError):
        get_model(entry(NET_FILE), Mirror(url, allow_http=True), no_progress)


def test_a_mirror_may_have_the_names_of_the_publishers(place: Place, folder: Path, use) -> None:
    content = zip_of({"net_r50.onnx": NET})
    net = entry(replace(NET_FILE, url="https://models.example/x.onnx", pack="pack"))
    use(net, packs=(Pack("pack", "https://models.example/v1/pack.zip", len(content), digest(content)),))
    for files in ({"/net_r50.onnx": NET}, {"/pack.zip": content}, {"/net.onnx": OTHER, "/pack.zip": content}):
        place.files = files
        get_model(net, Mirror(place.url), no_progress)
        assert stored(folder) == {"net.onnx": NET}
        remove_model(net)


def test_a_mirror_without_the_file_does_not_lead_to_the_publisher(place: Place, use) -> None:
    net = entry(replace(NET_FILE, url=f"{place.url}/publisher.onnx"))
    use(net)
    place.files["/publisher.onnx"] = NET
    with pytest.raises(RefusedError, match="404"):
        get_model(net, Mirror(f"{place.url}/m"), no_progress)


def test_what_cannot_be_downloaded_names_the_page_and_the_file_to_make(folder: Path) -> None:
    by_hand = entry(PublishedFile("net_r50.ckpt"))
    for mirror in (Mirror(), Mirror("https://localhost/m")):
        with pytest.raises(UnavailableError) as error:
            get_model(by_hand, mirror, no_progress)
        assert error.value.found == "https://models.example"
        assert error.value.fix == f"download net_r50.ckpt there by hand, and save it as {folder / 'net.ckpt'}"
    folder.mkdir(parents=True)
    (folder / "net.ckpt").write_bytes(b"anything")
    assert get_model(by_hand, Mirror(), no_progress) == folder / "net.ckpt"


def test_without_a_network_the_way_by_another_machine_is_named(folder: Path, use) -> None:
    with running_server() as gone:
        pass
    net = entry(replace(NET_FILE, url=f"{gone.url}/net.onnx"))
    with pytest.raises(LostConnectionError) as error:
        get_model(net, Mirror(), no_progress)
    assert f"download {gone.url}/net.onnx on another machine" in error.value.fix
    assert "`edgefr models add FILE`" in error.value.fix


def test_another_file_under_the_name_of_a_model_is_not_used_and_a_calibrated_one_is(folder: Path, use) -> None:
    content = model_bytes({"out": (1, 4)})
    net = entry(PublishedFile("net_r50.onnx", len(content), sha256=digest(content), url="https://localhost/x"))
    use(net)
    folder.mkdir(parents=True)
    path = folder / "net.onnx"
    path.write_bytes(content)
    write_model_manifest(path, Manifest(kind="onnx", name="net"))
    assert path.read_bytes() != content
    assert get_model(net, Mirror(), no_progress) == path
    for other in (b"<html>", model_bytes({"out": (1, 5)})):
        path.write_bytes(other)
        with pytest.raises(WrongModelError, match="remove it with `edgefr models remove net`"):
            get_model(net, Mirror(), no_progress)


def test_a_download_needs_the_space_that_it_takes(
    place: Place, folder: Path, use, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = entry(replace(NET_FILE, url=f"{place.url}/net.onnx"))
    place.files["/net.onnx"] = NET
    free = type("Usage", (), {"free": 10_000})
    monkeypatch.setattr("edgefr.downloads.model_store.shutil.disk_usage", lambda path: free)
    with pytest.raises(UnavailableError, match="MB of free space"):
        get_model(net, Mirror(), no_progress)
    assert place.requests == []


def test_two_downloads_of_a_model_do_not_meet(place: Place, folder: Path) -> None:
    net = entry(replace(NET_FILE, url=f"{place.url}/net.onnx"))
    with (
        run_lock(folder / ".partial" / f"{NET_FILE.sha256[:12]}-net.onnx.lock"),
        pytest.raises(UnavailableError, match="another run"),
    ):
        get_model(net, Mirror(), no_progress)


def test_a_file_is_recognised_whatever_its_name(folder: Path, tmp_path: Path, use) -> None:
    net = entry(NET_FILE)
    use(net)
    (tmp_path / "download (1)").write_bytes(NET)
    assert add_models(tmp_path / "download (1)") == [(net, folder / "net.onnx")]
    assert stored(folder) == {"net.onnx": NET}


def test_the_models_of_a_pack_are_recognised(folder: Path, tmp_path: Path, use) -> None:
    net, other = entry(NET_FILE), entry(PublishedFile("det.onnx", sha256=digest(OTHER)), name="detector")
    use(net, other)
    path = tmp_path / "models.zip"
    path.write_bytes(zip_of({"a/b.onnx": NET, "a/": b"", "readme": b"x", "../det.onnx": OTHER}))
    assert [found for found, _ in add_models(path)] == [net, other]
    assert stored(folder) == {"net.onnx": NET, "detector.onnx": OTHER}


def test_a_file_that_is_not_known_is_pointed_to_adopt(folder: Path, tmp_path: Path, use) -> None:
    use(entry(NET_FILE))
    (tmp_path / "mine.onnx").write_bytes(OTHER)
    with pytest.raises(WrongModelError, match=f"{digest(OTHER)}.*Use it as your own model: `edgefr adopt"):
        add_models(tmp_path / "mine.onnx")
    (tmp_path / "mine.zip").write_bytes(zip_of({"a.onnx": OTHER}))
    with pytest.raises(WrongModelError, match="edgefr adopt"):
        add_models(tmp_path / "mine.zip")
    for path in (tmp_path, tmp_path / "none.onnx"):
        with pytest.raises(WrongModelError, match="a model file at"):
            add_models(path)
    assert not folder.exists()


def test_a_model_is_removed_with_its_manifest_and_its_unfinished_download(place: Place, folder: Path, use) -> None:
    net = entry(replace(NET_FILE, url=f"{place.url}/net.onnx"))
    place.files["/net.onnx"] = NET
    place.behaviours["/net.onnx"] = [broken_off(1000), answer(404)]
    with pytest.raises(RefusedError):
        get_model(net, Mirror(), no_progress)
    assert unfinished(folder)
    remove_model(net)
    assert unfinished(folder) == []
    get_model(net, Mirror(), no_progress)
    (folder / "net.onnx.json").write_text("{}")
    remove_model(net)
    assert stored(folder) == {}
    with pytest.raises(WrongModelError, match=r"found none\. List what is there"):
        remove_model(net)
