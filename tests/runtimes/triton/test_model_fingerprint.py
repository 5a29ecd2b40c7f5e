"""Fingerprints of models on a server."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgefr.runtimes.triton.model_fingerprint import ModelFingerprint


@given(st.text())
def test_parse_accepts_only_what_str_gives(text: str) -> None:
    served = ModelFingerprint("0" * 64, "f" * 64, "fp16")
    assert ModelFingerprint.parse(str(served)) == served
    assert ModelFingerprint.parse(text) is None or str(ModelFingerprint.parse(text)) == text


def test_an_engine_stands_for_its_model_unless_it_is_int8() -> None:
    for precision, stands in (("fp32", True), ("fp16", True), ("int8", False)):
        engine = ModelFingerprint("e" * 64, "a" * 64, precision)
        assert engine.stands_for("e" * 64)
        assert engine.stands_for("a" * 64) == stands
        assert not engine.stands_for("b" * 64)
