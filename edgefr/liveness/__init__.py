"""Presentation attack detection: whether a face in a picture is a living one, or a print, a screen or a mask."""
