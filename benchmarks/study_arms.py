"""The arms of ``study.py``: those of ``omg.py``, further baselines and controls, and OMG as published."""

from __future__ import annotations

import omg_tasks
from omg_tasks import ONLY, Arm, Task

# Headroom first: policies without and with memory, then the exact filter and the true goals, then the models.
CORE = ("base", "history", "bayes", "oracle", "naive_om", "liam", "transformer", "place_prediction")
OURS = {"simple_tag": "place_prediction", "foraging": "object_prediction"}  # the method of an environment
BASELINES = {
    "transformer": Arm("ppo_transformer"),
    "wide": Arm("ppo_history", words=("hidden_dim=128",)),
    "history_on_test": Arm("ppo_history", on_test=True),  # what there is to gain by generalising better
    "meliba": Arm("meliba"),
    "plastic": Arm("plastic"),
    "memoryless_H=1": Arm("place_prediction", words=("use_rnn=False", "model_horizon=1")),
    "memoryless_shuffled": Arm("place_prediction", words=("use_rnn=False", "condition_on=shuffled")),
    # controls: the condition of another copy, and the model as an auxiliary loss alone
    "shuffled": Arm("place_prediction", words=("condition_on=shuffled",)),
    "auxiliary": Arm("place_prediction", words=("condition_on=nothing", "model_tau=1", "model_hidden_dim=64")),
}
# OMG as published, and the baselines of its paper on the same base learner: D3QN, or PPO without a recurrent policy
ON_D3QN = ("base_learner=d3qn_learner", "action_selector=epsilon_greedy", "use_rnn=False",
           "head_duelling=True", "batch_size_run=32", "replay_rollouts=100", "epsilon_anneal_time=200000", "epochs=4",
           "lr=1e-3", "lr_anneal=False")  # fmt: skip
PUBLISHED = {
    "d3qn": Arm("d3qn"),
    "d3qn_naive_om": Arm("naive_om", words=ON_D3QN),
    "d3qn_liam": Arm("liam", words=ON_D3QN),
    "omg_paper": Arm("omg_paper"),
    "omg_paper_ppo": Arm("omg_paper_ppo"),
    "ppo": Arm("ppo_history", words=("use_rnn=False",)),
    "ppo_naive_om": Arm("naive_om", words=("use_rnn=False",)),
    "ppo_liam": Arm("liam", words=("use_rnn=False",)),
}
PAPER_CHOICES = {  # the paper's ablations
    f"{arm} {name}": Arm(arm, words=words)
    for arm in ("omg_paper", "omg_paper_ppo")
    for name, words in {
        "conservative": ("omg_mode=conservative",),
        "mlp": ("omg_inference=mlp",),
        "random": ("omg_selection=random",),
        "next": ("omg_selection=next",),
        "third": ("omg_selection=third",),
        "inferred": ("omg_input=inferred",),
        "prior": ("omg_input=prior",),
        "H=1": ("omg_horizon=1",),
        "H=3": ("omg_horizon=3",),
        "H=10": ("omg_horizon=10",),
        "untrained_candidates": ("omg_value_candidates=False",),
    }.items()
}
ARMS: dict[str, Arm] = omg_tasks.ARMS | BASELINES | PUBLISHED | PAPER_CHOICES
PAPER = {  # the usual arms of the paper's tasks
    "paper_foraging": ("d3qn", "d3qn_naive_om", "d3qn_liam", "omg_paper", "omg_paper conservative"),
    "paper_hunt": ("ppo", "ppo_naive_om", "ppo_liam", "omg_paper_ppo", "omg_paper_ppo conservative"),
}


def arms_of(name: str, task: Task, asked: list[str] | None) -> list[str]:
    """The arms of a task: those asked for, or the usual ones, without those that need another environment."""
    wanted = asked or [*PAPER.get(name, CORE)]
    if not asked and name not in PAPER:
        wanted = list(dict.fromkeys([*wanted, OURS[task.env_config]]))
    return [arm for arm in wanted if ONLY.get(arm, task.env_config) == task.env_config]
