"""Games: what is known of an environment beyond its interface, one package a game."""
