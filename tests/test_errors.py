"""Errors and the commands that install extras."""

from __future__ import annotations

import json
import pickle
import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest

from edgefr import errors
from edgefr.errors import EdgefrError, MissingExtraError, install_command, require_extra, update_command


def test_an_error_is_one_sentence_and_its_fix() -> None:
    assert (
        str(EdgefrError("a face", "none", "use another picture")) == "expected a face, found none. Use another picture."
    )
    assert str(EdgefrError("", "Too late", "retry")) == "Too late. Retry."


def test_an_error_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(MissingExtraError("a", "b", "c")))
    assert (type(error), error.expected, error.found, error.fix) == (MissingExtraError, "a", "b", "c")


def test_a_source_tree_installs_from_itself() -> None:
    assert install_command("cpu") == "pip install '.[cpu]'"


@pytest.mark.parametrize(
    ("origin", "command"),
    [
        ({"url": "file:///src/edgefr", "dir_info": {"editable": True}}, "pip install '.[cpu]'"),
        ({"url": "file:///src/edgefr", "dir_info": {}}, "pip install '.[cpu]'"),
        ({"url": "file:///tmp/edgefr.whl", "archive_info": {}}, "pip install 'edgefr[cpu]'"),
        (None, "pip install 'edgefr[cpu]'"),
    ],
    ids=["editable", "folder", "wheel", "index"],
)
def test_an_installed_package_installs_from_its_origin(
    origin: dict[str, object] | None, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = None if origin is None else json.dumps(origin)
    monkeypatch.setattr(errors, "__file__", str(tmp_path / "site-packages/edgefr/errors.py"))
    monkeypatch.setattr(metadata, "distribution", lambda name: SimpleNamespace(read_text=lambda file: text))
    assert install_command("cpu") == command


def test_the_command_that_updates_works_where_edgefr_comes_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert update_command() == "git pull && pip install ."
    monkeypatch.setattr(errors, "__file__", str(tmp_path / "site-packages/edgefr/errors.py"))
    monkeypatch.setattr(metadata, "distribution", lambda name: SimpleNamespace(read_text=lambda file: None))
    assert update_command() == "pip install --upgrade edgefr"


def test_without_metadata_the_package_is_installed_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(errors, "__file__", str(tmp_path / "edgefr/errors.py"))
    monkeypatch.setattr(metadata, "distribution", missing)
    assert install_command("cpu") == "pip install 'edgefr[cpu]'"


def test_a_missing_extra_is_an_error_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingExtraError, match="expected the library 'openvino'") as caught:
        require_extra("openvino", "cpu")
    assert caught.value.fix == f"run: {install_command('cpu')}"
