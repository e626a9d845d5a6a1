"""A level: its plan and key, how its mask is made, and its training."""
