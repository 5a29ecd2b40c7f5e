"""A runtime is added with one file and one entry of the list of modules."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from edgefr.errors import InvalidArgumentError
from edgefr.runtimes import available_runtimes, local_target, open_backend, runtime_registry
from edgefr.runtimes.engine_file import Target
from edgefr.runtimes.fake import FakeBackend

ADDED = """
from edgefr.runtimes.base import Runtime
from edgefr.runtimes.engine_file import Target
from edgefr.runtimes.fake import FakeBackend

RUNTIMES = (
    Runtime(
        "added",
        open=lambda path, name, precision, threads: FakeBackend(precision),
        install_command=lambda: "pip install added",
        modules=("numpy",),
        packages=("numpy",),
        own_suffix=".added",
        target=lambda: Target("added", "1.0", "any"),
    ),
)
"""


@pytest.fixture
def added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "added_runtime.py").write_text(ADDED)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(runtime_registry, "MODULES", (*runtime_registry.MODULES, "added_runtime"))
    yield
    sys.modules.pop("added_runtime", None)


@pytest.mark.usefixtures("added")
def test_an_added_runtime_is_listed_chosen_and_opened() -> None:
    runtime = available_runtimes()[-1]
    assert (runtime.name, runtime.install_command(), runtime.precisions) == ("added", "pip install added", ("fp32",))
    assert runtime.version is not None
    assert isinstance(open_backend(Path("model.bin"), "added"), FakeBackend)
    assert isinstance(open_backend(Path("model.added")), FakeBackend)
    with pytest.raises(InvalidArgumentError, match=r"one of .*, fake, added, found other\. See `edgefr doctor`"):
        open_backend(Path("model.added"), "other")


@pytest.mark.usefixtures("added")
def test_an_added_runtime_can_have_engines() -> None:
    assert local_target("added") == Target("added", "1.0", "any")
    assert runtime_registry.engine_suffixes()["added"] == ".added"


@pytest.mark.parametrize("runtime", ["torch", "triton", "fake", "nothing"])
def test_runtimes_without_engines_have_no_target(runtime: str) -> None:
    with pytest.raises(
        InvalidArgumentError, match=f"onnxruntime, openvino, ncnn, tensorrt, tensorrt-rtx to build for.*{runtime}"
    ):
        local_target(runtime)


def test_the_fake_model_and_the_fake_runtime_belong_together(model: Path) -> None:
    for path, runtime in ((model, "fake"), (runtime_registry.FAKE, "onnxruntime")):
        with pytest.raises(InvalidArgumentError, match="the model 'fake' together with the runtime fake"):
            open_backend(path, runtime)
