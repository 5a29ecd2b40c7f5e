"""Every profile in engines/ is valid, named as its file, and says what its device is known to be."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgefr.engines.profile import PROFILES, read_profile
from edgefr.errors import EdgefrError

NAMES = sorted(path.stem for path in PROFILES.glob("*.toml"))


def test_the_profiles_are_here() -> None:
    assert set(NAMES) == {"cpu-x86", "cpu-arm", "rtx", "orin-nano", "orin-agx", "thor", "h200"}


@pytest.mark.parametrize("name", NAMES)
def test_a_profile_is_valid_and_fits_its_runtime(name: str) -> None:
    profile = read_profile(name)
    assert profile.name == name
    gpu = profile.runtime.startswith("tensorrt")
    assert bool(profile.compute_capabilities) == gpu
    assert ("bf16" in profile.precisions) <= (profile.runtime == "openvino")
    assert ("fp16" in profile.precisions) <= gpu


def test_capabilities_are_the_devices() -> None:
    """NVIDIA's table of CUDA GPUs."""
    known = {name: read_profile(name).compute_capabilities for name in ("rtx", "orin-nano", "orin-agx", "thor", "h200")}
    assert known == {
        "rtx": (75, 80, 86, 89, 120),
        "orin-nano": (87,),
        "orin-agx": (87,),
        "thor": (110,),
        "h200": (90,),
    }


def test_a_profile_may_be_a_file_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('name = "mine"\nruntime = "openvino"\nprecisions = ["fp32"]\n')
    assert read_profile(str(path)).name == "mine"
    path.write_text('name = "mine"\nruntime = "openvino"\nprecisions = ["fp32"]\n[batch]\nopt = 8\nmax = 4\n')
    with pytest.raises(EdgefrError, match="found opt 8 and max 4"):
        read_profile(str(path))


def test_names_and_runtimes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(EdgefrError, match="choose among cpu-arm, cpu-x86, h200"):
        read_profile("orin")
    with pytest.raises(EdgefrError, match="expected the runtime openvino of the profile cpu-x86, found tensorrt"):
        read_profile("cpu-x86", "tensorrt")
    assert read_profile("orin-nano", "tensorrt-rtx").runtime == "tensorrt-rtx"
    assert read_profile(None, "tensorrt").runtime == "tensorrt"
