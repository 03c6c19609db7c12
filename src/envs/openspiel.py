"""Games of OpenSpiel as AECEnvs, through Shimmy."""

from typing import Any

PREFIX = "open_spiel/"  # of keys: ``open_spiel/leduc_poker``


def known_games() -> list[str]:
    """The names of all games; ImportError if OpenSpiel or Shimmy is missing."""
    import pyspiel
    import shimmy  # noqa: F401  # the other package that is needed

    return list(pyspiel.registered_names())


def make_game(game: str, **parameters: Any) -> Any:
    """The game with OpenSpiel's ``parameters``.

    Shimmy truncates games after ``max_game_length`` nodes, in which OpenSpiel does not count chance. But Shimmy does:
    Kuhn poker ended after its first action.
    """
    from shimmy import OpenSpielCompatibilityV0

    class Game(OpenSpielCompatibilityV0):
        game_length: int

        def _execute_chance_node(self) -> None:
            actions = self.game_length
            super()._execute_chance_node()
            self.game_length = actions

    return Game(game_name=game, config=parameters or None)
