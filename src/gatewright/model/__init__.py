"""The model that parts make: a decoder-only transformer, its cost, its name, its initial weights, its generation."""

from gatewright.model.build import build
from gatewright.model.cost import ModelCost, cost
from gatewright.model.language_model import LanguageModel, Output
from gatewright.model.matching import match_model
from gatewright.model.name import architecture_name

__all__ = ["LanguageModel", "ModelCost", "Output", "architecture_name", "build", "cost", "match_model"]
