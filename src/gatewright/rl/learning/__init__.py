"""Reinforcement learning: group-relative policy gradients on paths that may listen to one another."""
