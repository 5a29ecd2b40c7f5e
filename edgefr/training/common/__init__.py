"""The training loop, states, recipes and logs."""
