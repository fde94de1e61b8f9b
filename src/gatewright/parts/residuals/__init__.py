"""Where the norms stand around a sub-layer (the choice ``norm_position``)."""
