"""A run with a logger of the user's: it receives the run, and its failure does not stop the training."""

from e2e.command import main

SMALL = ["t_max=600", "test_interval=300", "test_nepisode=2", "batch_size_run=2", "hidden_dim=8", "env_workers=0"]

LOGGER = '''
from pathlib import Path


class Mine:
    """Writes what it receives into the run's folder; the network fails with the picture."""

    def __init__(self, folder):
        self.file = Path(folder) / "mine.txt"

    def note(self, line):
        with self.file.open("a") as file:
            file.write(line + "\\n")

    def started_event(self, config, **_):
        self.note(f"started {config['name']}")

    def log_metrics(self, metrics_by_name, **_):
        self.note("metrics " * ("test_return_mean" in metrics_by_name))

    def artifact_event(self, name, filename, **_):
        self.note(f"{name} {Path(filename).is_file()}")
        raise ConnectionError("no route to host")

    def completed_event(self, **_):
        self.note("completed")
'''


def test_a_logger_receives_the_run_and_its_failure_stops_nothing(tmp_path):
    (tmp_path / "mine.py").write_text(LOGGER)
    done = main(["--config=iql", "with", *SMALL, "observers=[mine:Mine]"], tmp_path / "results", tmp_path)
    assert done.code == 0 and "Completed after" in done.err
    seen = [line.strip() for line in (done.run / "mine.txt").read_text().splitlines() if line.strip()]
    assert seen[0] == "started iql" and seen[-1] == "curves.png True"
    notices = [line for line in done.err.splitlines() if "receives no more" in line]
    assert notices == ["mine:Mine receives no more of this run (ConnectionError: no route to host); the run's folder "
                       "has everything"]  # fmt: skip
    assert (done.run / "tb").is_dir()
    again = ["resume", "with", f"run={done.run}", "t_max=1000"]
    refused = main(again, tmp_path, tmp_path, results_key=False)
    assert refused.code == 1 and refused.err.startswith("error: observers: ") and "names mine:Mine" in refused.err
    main([*again, "trust=mine:Mine"], tmp_path, tmp_path, results_key=False)
    assert (done.run / "mine.txt").read_text().count("started iql") == 2


def test_a_logger_that_is_not_installed_is_named_before_a_folder_is_made(tmp_path):
    done = main(["--config=iql", "with", *SMALL, "observers=[wandd]"], tmp_path / "results", tmp_path)
    assert done.code == 1 and not (tmp_path / "results" / "sacred" / "iql" / "mpe2.simple_tag_v3" / "1").exists()
    assert (
        done.err.strip()
        == "error: observer: unknown name 'wandd'; did you mean 'wandb'? (known: mlflow, mongo, wandb)"
    )
