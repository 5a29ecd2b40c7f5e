"""How often the system is wrong: metrics, protocols and thresholds."""
