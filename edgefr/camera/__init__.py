"""Who is in front of the camera? Frames, faces followed across them, and a decision for each of those."""
