"""α, the number in [0, 1] that says how much of a gate is let in."""
