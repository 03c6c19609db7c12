"""Many runs in one command: a grid of configurations, environments, seeds and keys, or a search."""
