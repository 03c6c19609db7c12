"""Mixing networks: they combine the agents' values into one value of the team."""
