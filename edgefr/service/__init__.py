"""edgefr as a service of systemd."""
