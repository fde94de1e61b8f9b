"""Supervised learning of a task's demonstrations: the start that reinforcement learning goes on from."""
