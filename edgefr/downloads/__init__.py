"""Published models: download, check, unpack and store them in the user's folder of models."""
