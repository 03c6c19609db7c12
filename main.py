"""python main.py --config=omg_vae [--env-config=NAME] [with KEY=VALUE ...]"""

import sys
import time

if __name__ == "__main__":
    started = time.time()
    try:
        try:
            from omarl.experiment import main
        except ModuleNotFoundError as error:
            sys.exit(
                f"error: the package {error.name!r} is missing; "
                "install this folder with `pip install -r requirements.txt`, or use `make run`"
            )
        main(sys.argv, started)
    except KeyboardInterrupt:  # before the run has begun
        sys.exit(130)
