"""``python -m omarl``: the same command line as main.py, from an installed package."""

from .experiment import main

if __name__ == "__main__":
    main()
