"""Compares settings of the VAE on the states of one recorded run."""
