"""From the agents' values to one value of the team."""
