"""The parts of a model. One file is one component; see `gatewright.parts.part` for what a part promises."""

from gatewright.parts.part import Cost, Dims, Part

__all__ = ["Cost", "Dims", "Part"]
