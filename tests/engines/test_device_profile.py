"""Every profile in engines/ is valid, has the name of its file, and the compute capability of its device."""

from __future__ import annotations

from importlib import util
from pathlib import Path
from types import SimpleNamespace

import pytest

import edgefr
from edgefr.engines import device_profile as module
from edgefr.engines.device_profile import Profile, profile_folder, read_profile
from edgefr.errors import EdgefrError
from edgefr.runtimes.cuda_probe import Gpu
from tests.conftest import REPOSITORY

NAMES = sorted(path.stem for path in profile_folder().glob("*.toml"))


def test_all_profiles_exist() -> None:
    assert set(NAMES) == {"cpu-x86", "cpu-arm", "rtx", "orin-nano", "orin-agx", "thor", "h200"}


@pytest.mark.parametrize("name", NAMES)
def test_a_wheel_contains_every_profile(name: str) -> None:
    packed = (REPOSITORY / "pyproject.toml").read_text()
    assert f'"engines/{name}.toml" = "edgefr/engines/profiles/{name}.toml"\n' in packed


def test_without_a_checkout_profiles_are_read_from_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "edgefr" / "engines" / "profiles"
    folder.mkdir(parents=True)
    (folder / "orin-nano.toml").write_text((profile_folder() / "orin-nano.toml").read_text())
    monkeypatch.setattr(edgefr, "__file__", str(tmp_path / "edgefr" / "__init__.py"))
    assert read_profile("orin-nano").compute_capabilities == (87,)


@pytest.mark.parametrize(
    ("gpu", "library", "runtime"),
    [(True, True, "tensorrt"), (True, False, "openvino"), (False, True, "openvino")],
)
def test_auto_is_tensorrt_if_it_has_a_gpu(
    gpu: bool, library: bool, runtime: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "find_gpu", lambda: Gpu("a GPU", 89, "CUDA 13.0", 1 << 34) if gpu else None)
    monkeypatch.setattr(util, "find_spec", lambda name: object() if library else None)
    assert read_profile(None).runtime == runtime


@pytest.mark.parametrize(("bf16", "best"), [(True, "bf16"), (False, "int8")])
def test_the_default_precision_is_the_first_that_the_processor_has(
    bf16: bool, best: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "processor", lambda: SimpleNamespace(bf16=bf16))
    assert read_profile("cpu-x86").default_precision == best
    assert Profile("mine", "openvino", ("bf16",)).default_precision == "bf16"  # the build then refuses it


@pytest.mark.parametrize("name", NAMES)
def test_a_profile_is_valid_and_fits_its_runtime(name: str) -> None:
    profile = read_profile(name)
    assert profile.name == name
    gpu = profile.runtime.startswith("tensorrt")
    assert bool(profile.compute_capabilities) == gpu
    assert ("bf16" in profile.precisions) <= (profile.runtime == "openvino")
    assert ("fp16" in profile.precisions) <= gpu


def test_compute_capabilities_are_those_of_the_devices() -> None:
    """NVIDIA's table of CUDA GPUs."""
    known = {name: read_profile(name).compute_capabilities for name in ("rtx", "orin-nano", "orin-agx", "thor", "h200")}
    assert known == {
        "rtx": (75, 80, 86, 89, 120),
        "orin-nano": (87,),
        "orin-agx": (87,),
        "thor": (110,),
        "h200": (90,),
    }


def test_a_profile_can_be_any_toml_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('name = "mine"\nruntime = "openvino"\nprecisions = ["fp32"]\n')
    assert read_profile(str(path)).name == "mine"
    path.write_text('name = "mine"\nruntime = "openvino"\nprecisions = ["fp32"]\n[batch]\nopt = 8\nmax = 4\n')
    with pytest.raises(EdgefrError, match="found opt 8 and max 4"):
        read_profile(str(path))


def test_unknown_names_and_other_runtimes_are_refused() -> None:
    with pytest.raises(EdgefrError, match="Choose one of cpu-arm, cpu-x86, h200"):
        read_profile("orin")
    with pytest.raises(EdgefrError, match="expected the runtime openvino of the profile cpu-x86, found tensorrt"):
        read_profile("cpu-x86", "tensorrt")
    assert read_profile("orin-nano", "tensorrt-rtx").runtime == "tensorrt-rtx"
    assert read_profile(None, "tensorrt").runtime == "tensorrt"
