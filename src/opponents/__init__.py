"""Those who are modelled: scripted players, frozen networks, pools of them, and the environment with them inside."""
