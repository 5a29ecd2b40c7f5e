"""Jobs over millions of photographs, run by processes on this machine or on a Ray cluster."""
