"""Questions about galleries: who is in them, who is on a photograph, what the log says, and how they change."""

from __future__ import annotations

import os
import re
import shutil

from tests.golden.asking import Answer, Shell

SECRET, CARRY = "correct horse battery", "staple in a suitcase"
FAKE = ("-m", "fake")
SEEN = ("seen/collins.jpg", "seen/hopper.jpg", "seen/nemo.jpg")
KEY = ("--key-file", "gallery.key")
NEW_KEY = ("--key-file", "new.key")
BY_PASSPHRASE = ("--passphrase-env", "SECRET")
CARRIED = ("--file-passphrase-env", "CARRY")
SERVED = "milvus-lite:people.db/people"


def plain_gallery(shell: Shell) -> Answer:
    here = ("-g", "plain.gallery")
    told = people(shell, *here, names=("Collins", "Hopper", "Nemo"))
    told["identify"] = shell.asked("gallery", "identify", *SEEN, *FAKE, *here)
    told["lax"] = shell.asked("gallery", "identify", *SEEN, *FAKE, *here, "--fpir", 0.2)
    one = ("gallery", "identify", SEEN[2], *FAKE, "--threshold", 0.9999, "--top", 1)
    told["one"] = shell.asked(*one, EDGEFR_GALLERY="plain.gallery")
    return told | {"log": log(shell, *here)}


def gallery_with_a_key_file(shell: Shell) -> Answer:
    here = ("-g", "key.gallery")
    told = people(shell, *here, *KEY, names=("Eileen Collins", "Grace Hopper"))
    told["identify"] = shell.asked("gallery", "identify", *SEEN, *FAKE, *here, *KEY)
    named = {"EDGEFR_GALLERY": "key.gallery", "EDGEFR_GALLERY_KEY": "gallery.key"}
    told["by variables"] = shell.asked("gallery", "show", "Grace Hopper", **named)
    told["without a key"] = shell("gallery", "list", *here).refusal
    other = shell.folder / "other.key"
    other.write_text("00" * 32 + "\n")
    other.chmod(0o600)
    return told | {"another's": shell("gallery", "list", *here, "--key-file", "other.key").refusal}


def gallery_with_a_passphrase(shell: Shell) -> Answer:
    here = ("-g", "passphrase.gallery")
    told = people(shell, *here, *BY_PASSPHRASE, names=("Grace Hopper", "Zoë Nemo"), SECRET=SECRET)
    told["wrong"] = shell("gallery", "list", *here, *BY_PASSPHRASE, SECRET=CARRY).refusal
    reader, writer = os.pipe()
    os.write(writer, f"{SECRET}\n".encode())
    os.close(writer)
    return told | {"by descriptor": shell.asked("gallery", "list", *here, "--passphrase-fd", reader)}


def gallery_with_crops(shell: Shell) -> Answer:
    """Rebuilt by another model and back: the crops are what they were."""
    here = ("-g", "crops.gallery")
    told = people(shell, *here, names=("Collins", "Nemo"))
    told["rebuild"] = shell.asked("gallery", "rebuild", "-m", "mini", "--runtime", "onnxruntime", *here)
    told["refused"] = shell("gallery", "identify", SEEN[0], *FAKE, *here).refusal
    told["back"] = shell.asked("gallery", "rebuild", *FAKE, *here)
    told["identify"] = shell.asked("gallery", "identify", *SEEN, *FAKE, *here)
    told["show"] = shell.asked("gallery", "show", "Collins", *here)
    return told | {"log": log(shell, *here)}


def gallery_that_changes(shell: Shell) -> Answer:
    """An old gallery takes further images and people, who are found beside the old ones; some go, and the key, too."""
    here, old = ("-g", "key.gallery"), ("pictures/Collins/1.jpg", "pictures/Nemo/1.jpg")
    told = {
        "further": shell.asked("gallery", "enroll", "Eileen Collins", old[0], "seen/further.jpg", *FAKE, *here, *KEY)
    }
    told["new"] = shell.asked("gallery", "enroll", "Zoe\u0308 Nemo", old[1], "--keep-crops", *FAKE, *here, *KEY)
    told["list"] = _without_today(shell.asked("gallery", "list", *here, *KEY))
    told["show"] = shell.asked("gallery", "show", "Eileen Collins", *here, *KEY)
    told["identify"] = shell.asked("gallery", "identify", *SEEN, *FAKE, *here, *KEY)
    told["rename"] = shell.asked("gallery", "rename", "Grace Hopper", "Rear Admiral", *here, *KEY)
    told["remove"] = shell.asked("gallery", "remove", "Eileen Collins", *here, *KEY)
    told["rotate"] = shell.asked("gallery", "rotate-key", "--new-key-file", "new.key", *here, *KEY)
    told["left"] = _without_today(shell.asked("gallery", "list", *here, *NEW_KEY))
    told["former key"] = shell("gallery", "list", *here, *KEY).refusal
    return told | {"log": log(shell, *here, *NEW_KEY)}


def exported_people(shell: Shell) -> Answer:
    """An old export is imported, and exported again."""
    new, third = ("-g", "new.gallery", *NEW_KEY), ("-g", "third.gallery", "--plain")
    told = {"import": shell.asked("gallery", "import", "people.export", *CARRIED, *new, CARRY=CARRY)}
    told |= people(shell, *new, names=("Eileen Collins", "Grace Hopper"))
    del told["audit"]  # all of it is of today
    told["identify"] = shell.asked("gallery", "identify", *SEEN, *FAKE, *new)
    told["export"] = shell.asked("gallery", "export", "again.export", *CARRIED, *new, CARRY=SECRET)
    told["wrong"] = shell("gallery", "import", "people.export", *CARRIED, *third, CARRY=SECRET).refusal
    told["again"] = shell.asked("gallery", "import", "again.export", *CARRIED, *third, CARRY=SECRET)
    return told | {"log": log(shell, *new)}


def gallery_in_a_database(shell: Shell) -> Answer:
    """Milvus Lite's, which needs no server: names, images and the log are sealed in it as in any other database."""
    here = ("-g", SERVED)
    told = people(shell, *here, *KEY, names=("Grace Hopper", "Zoë Nemo"))
    told["identify"] = shell.asked("gallery", "identify", *SEEN, *FAKE, *here, *KEY)
    told["further"] = shell.asked("gallery", "enroll", "Grace Hopper", "pictures/Hopper", *FAKE, *here, *KEY)
    told["remove"] = shell.asked("gallery", "remove", "Zoë Nemo", *here, *KEY)
    told["without a key"] = shell("gallery", "list", *here).refusal
    return told | {"log": log(shell, *here, *KEY)}


def gallery_where_nobody_says(shell: Shell) -> Answer:
    """The file in the user's data folder."""
    (shell.folder / "data/edgefr").mkdir(parents=True)
    shutil.copy(shell.folder / "plain.gallery", shell.folder / "data/edgefr/people.gallery")
    told = shell.asked("gallery", "list")
    return {"exit": told["exit"], "people": told["json"]["people"]}


def people(shell: Shell, *where: str, names: tuple[str, ...], **environment: str) -> Answer:
    """All that a gallery tells of itself and of these people."""
    return {
        "list": shell.asked("gallery", "list", *where, **environment),
        "show": {name: shell.asked("gallery", "show", name, *where, **environment) for name in names},
        "audit": shell.asked("gallery", "audit", *where, **environment),
    }


def log(shell: Shell, *where: str) -> list[list[str]]:
    """The log without its times. What is random in a pseudonym is left out."""
    events = shell("gallery", "audit", *where, "--json").json["events"]
    names = [re.sub(r"^removed person [0-9a-f]{8}$", "removed person", event["name"]) for event in events]
    return [[event["what"], name, event["detail"]] for event, name in zip(events, names, strict=True)]


def _without_today(listed: Answer) -> Answer:
    """A list without when people were enrolled."""
    for person in listed["json"]["people"]:
        del person["enrolled"]
    return listed
