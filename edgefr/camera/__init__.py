"""Live recognition: frames, tracked faces, and a decision for each track."""
