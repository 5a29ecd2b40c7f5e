"""The networks: backbones, fusion, bottleneck, margin heads and the loaders of upstream checkpoints (torch)."""
