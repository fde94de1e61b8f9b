"""Planning a training for a machine one does not have: what fits, how long it takes, how good it gets."""

from gatewright.planning.plan import Plan, plan
from gatewright.planning.request import PlanRequest, read_request
from gatewright.planning.scaling import LAWS, ScalingLaw

__all__ = ["LAWS", "Plan", "PlanRequest", "ScalingLaw", "plan", "read_request"]
