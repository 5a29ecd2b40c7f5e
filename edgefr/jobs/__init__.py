"""Photographs by the million: one job, its shards in a folder, made by processes here or on a Ray cluster."""
