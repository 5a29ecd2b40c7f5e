"""The web page of `edgefr watch`, and its HTTP API."""
