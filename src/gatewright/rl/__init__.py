"""Reinforcement learning on questions whose answers can be checked."""
