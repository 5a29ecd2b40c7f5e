"""Write requirements-test.txt: all packages of the tests with their SHA-256, for x86-64 Linux and Python 3.11.

Run it with `make lock` after a change of pyproject.toml or constraints.txt. torch and what only torch requires are left
out: its builds for processors and for CUDA have different files, so `make test` installs it by its version alone.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
OUTPUT = ROOT / "requirements-test.txt"
EXTRAS = ".[cpu,train,demo,dev]"
ALSO = ("editables",)
"""What hatchling needs to install a source tree in place."""
WITHOUT_HASH = re.compile("torch|triton|(nvidia|cuda)-.*")
"""torch and the packages that only its CUDA build requires."""
HEAD = """\
# Written by `make lock`; do not edit. x86-64 Linux, Python 3.11: pip install --require-hashes -r requirements-test.txt
"""


def resolve() -> list[dict[str, Any]]:
    """The packages that pip would install, with the file of each."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
        command += ["--report", str(report), "--constraint", "constraints.txt", EXTRAS, *ALSO]
        subprocess.run(command, cwd=ROOT, check=True)  # noqa: S603 (no input of others)
        installs: list[dict[str, Any]] = json.loads(report.read_text(encoding="utf-8"))["install"]
        return installs


def lock(installs: list[dict[str, Any]]) -> str:
    """The requirements with their hashes, by name."""
    lines = []
    for install in installs:
        name, version = install["metadata"]["name"].lower().replace("_", "-"), install["metadata"]["version"]
        if name == "edgefr" or WITHOUT_HASH.fullmatch(name):
            continue
        digest = install["download_info"]["archive_info"]["hashes"]["sha256"]
        lines.append(f"{name}=={version} --hash=sha256:{digest}\n")
    return HEAD + "".join(sorted(lines))


if __name__ == "__main__":
    OUTPUT.write_text(lock(resolve()), encoding="utf-8")
