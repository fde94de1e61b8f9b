"""Files to start from: a complete, working part of a kind, to be changed into one's own."""

from gatewright.scaffold.new import kinds, write_part

__all__ = ["kinds", "write_part"]
