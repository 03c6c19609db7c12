"""Opponents: pools of scripted and trained players, and the environment with them inside."""
