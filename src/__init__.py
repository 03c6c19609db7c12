"""omarl: opponent modelling for multi-agent RL, in PyMARL's manner."""

__version__ = "0.1.0"
