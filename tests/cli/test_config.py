"""`edgefr.toml` gives commands their defaults; the environment stands above it, and options above both."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgefr.cli.config_check import config_faults
from edgefr.cli.config_file import ConfigFile, key_lines, parse_toml
from tests.cli.test_lazy_commands import loaded
from tests.conftest import REPOSITORY, made_once


@pytest.fixture
def album(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Photographs in the working folder, which is not the one of the configuration file."""
    folder = made_once(tmp_path_factory, "album of two", two_photographs)
    monkeypatch.chdir(folder)
    return folder


def two_photographs(folder: Path) -> None:
    pytest.importorskip("skimage")
    pytest.importorskip("matplotlib")
    from edgefr.demo import ASTRONAUT, COPY, demo_photos

    for name, photo in (("a.jpg", ASTRONAUT), ("b.jpg", COPY)):
        cv2.imwrite(str(folder / name), cv2.cvtColor(demo_photos()[photo], cv2.COLOR_RGB2BGR))


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Writes the file that $EDGEFR_CONFIG names."""

    def write(text: str) -> Path:
        path = tmp_path / "settings" / "edgefr.toml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        monkeypatch.setenv("EDGEFR_CONFIG", str(path))
        return path

    return write


def test_a_command_takes_its_table_and_the_common_ones(edgefr, album: Path, config) -> None:
    config('[model]\nmodel = "fake"\n[verify]\nthreshold = 0.25\njson = true\n[watch]\nport = 1\n')
    told = edgefr("verify", "a.jpg", "b.jpg")
    assert told.json["threshold"] == 0.25
    assert told.json["model"] == "fake"


def test_the_environment_stands_above_the_file_and_options_above_both(edgefr, album: Path, config, monkeypatch) -> None:
    config('[model]\nmodel = "fake"\n[verify]\nthreshold = 0.25\njson = true\n')
    monkeypatch.setenv("EDGEFR_MODEL", "mini")
    assert edgefr("verify", "a.jpg", "b.jpg").json["model"].endswith("mini.onnx")
    told = edgefr("verify", "a.jpg", "b.jpg", "--model", "fake", "--threshold", "0.5").json
    assert (told["model"], told["threshold"]) == ("fake", 0.5)


def test_an_own_table_stands_above_a_common_one(edgefr, config) -> None:
    config('[model]\nruntime = "openvino"\n[verify]\nruntime = "onnxruntime"\n')
    assert "onnxruntime" in edgefr("config", "show", "verify").out
    assert "openvino" in edgefr("config", "show", "embed").out


def test_common_tables_are_not_for_commands_whose_options_mean_something_else(edgefr, config) -> None:
    config('[model]\nruntime = "openvino"\n')
    shown = {entry["key"]: entry for entry in edgefr("config", "show", "build-engine", "--json").json["values"]}
    assert shown["runtime"]["source"] == "default"


def test_relative_paths_are_those_of_the_folder_of_the_file(edgefr, config) -> None:
    path = config(
        '[model]\nmodel = "own.onnx"\ndetector = "yunet"\nliveness = ["a.onnx", "/b.onnx"]\n'
        '[gallery]\ngallery = "people.gallery"\npin = "off"\nkey-file = "keys/gallery.key"\n'
        '[watch]\nsource = 0\nevents = "~/events"\n'
    )
    shown = {entry["key"]: entry["value"] for entry in edgefr("config", "show", "watch", "--json").json["values"]}
    folder = path.parent
    assert shown["model"] == str(folder / "own.onnx")
    assert shown["detector"] == "yunet", "the name of a model"
    assert shown["liveness"] == [str(folder / "a.onnx"), "/b.onnx"]
    assert shown["gallery"] == str(folder / "people.gallery")
    assert shown["key-file"] == str(folder / "keys/gallery.key")
    assert (shown["pin"], shown["source"]) == ("off", "0")
    assert shown["events"] == str(Path("~/events").expanduser())


@pytest.mark.parametrize(
    "address", ["postgresql://door@host/db/people", "milvus-lite:people.db/people", "milvus://host/people"]
)
def test_an_address_of_a_gallery_is_no_path(edgefr, config, address: str) -> None:
    config(f'[gallery]\ngallery = "{address}"\n')
    assert address in edgefr("config", "show", "gallery", "list").out


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[verify]\nthresold = 0.5\n", ["verify", ":2", "'thresold'", "Write threshold."]),
        ("\n\n[verify]\nthreshold = 3\n", [":4", "verify.threshold", "3"]),
        ('[verify]\nthreshold = "much"\n', [":2", "much"]),
        ("[verify]\njson = 1\n", ["true or false", ":2"]),
        ("[verify]\nthreshold = true\n", [":2", "True"]),
        ("[verify]\nthreshold = [0.5]\n", [":2", "a text or a number"]),
        ('[model]\nliveness = "net.onnx"\n', [":2", "a list of texts"]),
        ('[model]\nmodle = "mini"\n', [":2", "[model]", "Write model."]),
        ("[verify]\nface = 1979-05-27\n", [":2", "a text or a number"]),
        ('[verify]\nfirst = "a.jpg"\n', [":2", "'first'"]),
        ("verify = 3\n", [":1", "[verify]"]),
        ("[verify\n", ["TOML", "line 1"]),
        ("x = " + "[" * 5000, ["TOML"]),
        ("#" * 70_000, ["64 KiB"]),
    ],
)
def test_a_fault_in_a_table_of_a_command_is_told_with_its_line(edgefr, config, text: str, words: list[str]) -> None:
    config(text)
    sentence = edgefr("verify", "a.jpg", "b.jpg").sentence
    assert all(word in sentence for word in words), sentence


def test_a_fault_in_the_table_of_another_command_stops_nothing(edgefr, album: Path, config) -> None:
    config('[watch]\nprot = 3\n[model]\nmodel = "fake"\n')
    assert edgefr("verify", "a.jpg", "a.jpg", "--threshold", "0.5").code == 0


def test_check_finds_all_faults(edgefr, config) -> None:
    path = config(
        'fpir = 1\n[watch]\nprot = 3\nfpir = 7\n[wacth]\n[gallery]\nkey = "x"\n[gallery.enrol]\n[gallery.enroll]\n'
        'days = "soon"\n[model]\ndetektor = """\n\nx"""\nruntime = ["a"]\n[models.get]\nallow_http = true\n'
    )
    told = edgefr("config", "check", "--json")
    assert told.code == 1
    found = [(fault["line"], fault["key"]) for fault in told.json["faults"]]
    assert found == [
        (1, "fpir"),
        (3, "watch.prot"),
        (4, "watch.fpir"),
        (5, "wacth"),
        (7, "gallery.key"),
        (8, "gallery.enrol"),
        (10, "gallery.enroll.days"),
        (12, "model.detektor"),
        (15, "model.runtime"),
        (17, "models.get.allow_http"),
    ]
    assert edgefr("config", "check", path).out.count("\n") == len(found)


def test_check_accepts_a_file_without_faults(edgefr, config) -> None:
    config('[gallery]\npin = "off"\n[gallery.enroll]\ndays = 30\n')
    told = edgefr("config", "check")
    assert (told.code, "no faults" in told.out) == (0, True)


def test_the_file_of_the_documentation_has_no_faults(config) -> None:
    text = (REPOSITORY / "docs/service.md").read_text().split("```toml\n")[1].split("```")[0]
    assert config_faults(ConfigFile.read(config(text))) == []


def test_check_and_show_of_a_missing_file_say_what_to_do(edgefr, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("edgefr.cli.config_file.SYSTEM_FILE", tmp_path / "none")
    assert "edgefr.toml" in edgefr("config", "check").sentence
    assert "none" in edgefr("config", "show").out
    monkeypatch.setenv("EDGEFR_CONFIG", str(tmp_path / "missing.toml"))
    assert "missing.toml" in edgefr("verify", "a", "b").sentence


def test_the_users_file_is_read_before_that_of_the_system(edgefr, tmp_path: Path, monkeypatch) -> None:
    own, system = tmp_path / "config home/edgefr/edgefr.toml", tmp_path / "system.toml"
    monkeypatch.setattr("edgefr.cli.config_file.SYSTEM_FILE", system)
    system.write_text("[watch]\nport = 1234\n")
    assert str(system) in edgefr("config", "show", "watch").out
    own.parent.mkdir(parents=True)
    own.write_text("")
    assert str(system) not in edgefr("config", "show", "watch").out


def test_show_tells_where_values_come_from_and_no_secret(edgefr, config, monkeypatch) -> None:
    path = config('[watch]\nhook = "https://user:geheim@host/x?key=geheim"\nport = 9\n')
    monkeypatch.setenv("EDGEFR_WEB_TOKEN", "geheim")
    monkeypatch.setenv("EDGEFR_MQTT_PASSWORD", "geheim")
    monkeypatch.setenv("EDGEFR_SOURCE", "rtsp://user:geheim@camera/1")
    monkeypatch.setenv("EDGEFR_DETECTOR", "yunet")
    for command in (["config", "show"], ["config", "show", "watch"], ["config", "show", "--json"]):
        told = edgefr(*command)
        assert told.code == 0
        assert "geheim" not in told.out
    shown = {entry["key"]: entry for entry in edgefr("config", "show", "watch", "--json").json["values"]}
    assert shown["source"] == {"key": "source", "value": "rtsp://camera/1", "source": "$EDGEFR_SOURCE"}
    assert shown["detector"]["source"] == "$EDGEFR_DETECTOR"
    assert shown["port"] == {"key": "port", "value": "9", "source": f"{path}:3"}
    assert shown["host"] == {"key": "host", "value": "127.0.0.1", "source": "default"}
    assert "EDGEFR_WEB_TOKEN" in edgefr("config", "show").out


def test_help_neither_reads_nor_shows_the_file(edgefr, config) -> None:
    config("no toml")
    told = edgefr("verify", "--help")
    assert told.code == 0
    assert edgefr("doctor", "--json").code == 0


def test_a_file_costs_a_verification_no_library_but_that_of_toml(album: Path, tmp_path: Path) -> None:
    path = tmp_path / "e.toml"
    path.write_text('[model]\ndetector = "spot"\n[verify]\nface = "only"\nfmr = 1e-3\n')
    code, modules = loaded(["verify", "a.jpg", "b.jpg"], album, EDGEFR_CONFIG=str(path))
    assert code == 0
    assert "tomllib" in modules or "tomli" in modules
    assert not modules & {"torch", "onnx", "openvino", "pydantic", "rich", "cryptography"}


NAMES = st.text("abc-_", min_size=1, max_size=3)
VALUES = st.one_of(
    st.integers(),
    st.booleans(),
    st.lists(st.integers(), max_size=3),
    st.text('a#=[]" ', max_size=8),
    st.just("[x]\ny = 1\n"),
)


def toml_of(value: object, multiline: bool) -> str:
    if isinstance(value, list) and multiline:
        return "[\n" + "".join(f"  {each},\n" for each in value) + "]"
    return f"'''\n{value}'''" if isinstance(value, str) and multiline else json.dumps(value)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(NAMES, st.dictionaries(NAMES, VALUES, max_size=3), max_size=3), st.data())
def test_every_key_is_found_on_its_line(tables: dict[str, dict[str, object]], data: st.DataObject) -> None:
    lines, expected = [], {}
    for table, values in tables.items():
        lines += [*data.draw(st.lists(st.sampled_from(["", "# x = 1", "# [y]"]), max_size=2)), f"[{table}]"]
        for key, value in values.items():
            expected[table, key] = len(lines) + 1
            lines += f"{key} = {toml_of(value, data.draw(st.booleans()))}".split("\n")
    text = "\n".join(lines)
    parse_toml(text)
    assert {keys: line for line, keys in key_lines(text) if len(keys) == 2} == expected


def test_dotted_keys_and_arrays_of_tables_have_lines() -> None:
    text = 'a.b = 1\n[[c]]\nd = 2\n[[c]]\nd = 3\n["e f"."g"]\nh = {i = 4}\n'
    assert [*key_lines(text)] == [
        (1, ("a", "b")),
        (2, ("c",)),
        (3, ("c", "d")),
        (4, ("c",)),
        (5, ("c", "d")),
        (6, ("e f", "g")),
        (7, ("e f", "g", "h", "i")),
    ]


def test_a_file_with_windows_line_ends_has_the_same_lines(tmp_path: Path) -> None:
    path = tmp_path / "edgefr.toml"
    path.write_bytes(b"[watch]\r\nevents = '''\r\na'''\r\nport = 3\r\n")
    assert ConfigFile.read(path).line(("watch", "port")) == 4
