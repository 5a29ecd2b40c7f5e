"""The web page and its HTTP server."""
