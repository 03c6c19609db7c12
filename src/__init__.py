"""omarl: opponent modelling for multi-agent RL, in PyMARL's manner."""

__version__ = "0.1.0"

import warnings as _warnings

# Sacred's, at every import of it: requirements pin setuptools below 82, where pkg_resources went away.
_warnings.filterwarnings("ignore", message="pkg_resources is deprecated")
