"""Recognisers as other projects publish them: what they expect of a face, and their conversion to edgefr's inputs."""
