"""Games: knowledge of environments beyond their interface, one package for each game."""
