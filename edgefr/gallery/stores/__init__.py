"""Where the records of a gallery are stored."""
