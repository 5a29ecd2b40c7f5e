"""Show the frames with their faces in a window of the desktop."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2

from edgefr.camera.overlay import draw_faces
from edgefr.camera.session import Listener
from edgefr.camera.watcher import FrameResult
from edgefr.errors import UnavailableError

FONTS = "/usr/share/fonts"


class Window(Listener):
    """A window; the key q and closing it end the program."""

    TITLE = "edgefr"

    def __init__(self) -> None:
        """Raises UnavailableError if there is no desktop, or if OpenCV is built without windows."""
        # The wheels of OpenCV 5 name a folder of fonts that they do not have, and Qt warns about it for every label.
        if not Path(os.environ.get("QT_QPA_FONTDIR", FONTS)).is_dir():
            os.environ["QT_QPA_FONTDIR"] = FONTS
        # This runs in another process because Qt aborts its process where there is no desktop.
        probe = "import cv2; cv2.namedWindow('edgefr')"
        if subprocess.run([sys.executable, "-c", probe], capture_output=True, check=False).returncode != 0:  # noqa: S603
            raise UnavailableError("a desktop to open a window on", "none", "use --picture FILE or --web instead")
        self._open = False

    def show(self, result: FrameResult) -> None:
        """Show a frame; raises KeyboardInterrupt after the user has pressed q or closed the window."""
        if self._open and not self._is_visible():
            raise KeyboardInterrupt  # imshow would open another window
        cv2.imshow(self.TITLE, cv2.cvtColor(draw_faces(result), cv2.COLOR_RGB2BGR))
        self._open = True
        if cv2.waitKey(1) & 0xFF == ord("q"):
            raise KeyboardInterrupt

    def _is_visible(self) -> bool:
        try:
            return cv2.getWindowProperty(self.TITLE, cv2.WND_PROP_VISIBLE) >= 1
        except cv2.error:  # Qt has ended with its last window
            return False

    def close(self) -> None:
        cv2.destroyAllWindows()
