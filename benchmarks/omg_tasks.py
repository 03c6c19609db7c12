"""What ``omg.py`` runs: tasks with their opponents, methods (arms), and the settings that were compared."""

from __future__ import annotations

from typing import NamedTuple

from omarl.games.foraging import scripts as foraging_scripts
from omarl.games.tag import scripts as tag_scripts

PPO_TEAMS = (("ippo", 3), ("ippo", 4), ("ippo", 5), ("ippo", 6))
SEEDS = 10
TESTED = 480  # episodes of each test during a run
RETEST = 4800  # episodes of the test after a run: 160 with each opponent
MATURE = 1_000_000  # training steps of teams that become opponents; their younger versions have half of them


class Team(NamedTuple):
    """A team that is trained in a run of its own and becomes an opponent."""

    name: str
    algorithm: str
    seed: int
    split: str  # train, validation or test; prior: it only gives states to the subgoal prior


class Task(NamedTuple):
    """An environment, its scripts, and the length of runs."""

    env_config: str
    words: tuple[str, ...]
    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    seen: str
    has_end: bool  # whether learners can end an episode before its time limit
    mode: str
    steps: int
    teams: tuple[tuple[str, int], ...]  # trained teams that become opponents: algorithm and seed
    team_words: tuple[str, ...] = ()
    about: str = "*"  # the opponents that models predict
    horizon: int = 20  # of place prediction
    generators: tuple[Team, ...] = ()  # trained teams of tasks whose splits share no component
    teams_from: float = 0.0  # the share of a run after which teams are among its training opponents

    @property
    def scripts(self) -> dict[str, tuple[str, ...]]:
        """The scripts of each split, by the keys of the command ``pool``."""
        return {"scripts": self.train, "validation_scripts": self.validation, "test_scripts": self.test}


def foraging(key: str, mode: str, *words: str, steps: int = 1_000_000) -> Task:
    """A foraging task with two players."""
    own = (f"env_args.key=lbforaging:{key}", "env_args.backend=batched", "gamma=0.97")
    test = ("second_nearest", "follower", "first", "last", "east", "centre", "contested", "diagonal", "south_west",
            "highest_level")  # fmt: skip
    return Task(
        "foraging",
        (*own, *words),
        foraging_scripts.TRAIN,
        tuple(f"{script}:0.2" for script in foraging_scripts.TRAIN),
        (*test, *(f"{script}:0.2" for script in test)),
        "offsets,actions",
        True,
        mode,
        steps,
        (*PPO_TEAMS, ("mappo", 1), ("mappo", 2), ("mappo", 3)),
        ("hidden_dim=128", "layer_norm=True", "critic_layer_norm=True"),  # else few teams collect a food
        horizon=10,
    )


def tag(
    train: tuple[str, ...], validation: tuple[str, ...], test: tuple[str, ...], steps: int, about: str = "*"
) -> Task:
    """A predator-prey task in which one predator learns."""
    words = ("env_args.key=mpe2.simple_tag_v3", "env_args.max_cycles=50", "env_args.backend=batched",
             "omg_learners=adversary_0", "gamma=0.95")  # fmt: skip
    teams = (*PPO_TEAMS, ("pqn", 1), ("pqn", 2), ("pqn", 3))
    return Task("simple_tag", words, train, validation, test, "actions", False, "optimistic", steps, teams,
                about=about)  # fmt: skip


TASKS = {
    "patrol": tag(
        ("guard+pair_corners", "centre+pair_sides", "follow+pair_any", "circle+triple_corners", "inside+triple_sides",
         "guard+triple_any", "centre+back_corners", "follow+back_sides", "circle+pair_any", "inside+triple_any"),
        ("centre+pair_any", "follow+triple_any", "guard+back_any", "circle+quad_corners", "inside+pair_corners",
         "centre+quad_any", "follow+pair_sides", "guard+quad_sides", "circle+back_corners", "inside+back_any"),
        # training patrols with other predators; then patrols, then predators, that do not occur in training
        ("inside+pair_any", "guard+pair_any", "circle+triple_any", "centre+triple_any", "centre+triple_corners",
         "follow+triple_sides", "guard+back_corners", "circle+back_sides", "centre+back_any", "follow+back_any",
         "circle+back_any", "inside+quad_any", "follow+quad_any", "circle+quad_sides", "follow+quad_corners",
         "chase+pair_any", "ambush+triple_any", "late+back_any", "chase+back_corners", "ambush+pair_sides"),
        steps=1_000_000, about="agent_0"),
    "predator_prey": tag(
        tag_scripts.TRAIN,
        ("circle+windmill", "inside+windmill", "guard+elbow", "follow+elbow", "centre+hook", "circle+hook",
         "guard+bow", "follow+bow", "centre+arrow", "inside+arrow"),
        ("guard+anticlockwise", "centre+anticlockwise", "circle+anticlockwise", "guard+hourglass",
         "follow+hourglass", "inside+hourglass", "centre+east_side", "follow+east_side", "circle+east_side",
         "guard+south_side", "centre+south_side", "inside+south_side", "guard+falling", "circle+falling",
         "follow+falling", "centre+stray", "follow+stray", "inside+stray", "circle+stray_sides",
         "inside+stray_sides"),
        steps=2_000_000, about="agent_0"),
    "coop_deadline": foraging("Foraging-8x8-2p-4f-coop-v3", "optimistic", "env_args.episode_limit=20",
                              steps=2_000_000),
    "foraging": foraging("Foraging-8x8-2p-3f-v3", "optimistic"),
    "competitive": foraging("Foraging-8x8-2p-3f-v3", "conservative", "env_args.max_food_level=[1,1,1]"),
}  # fmt: skip


def generators(**seeds: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]) -> tuple[Team, ...]:
    """Teams from independent runs: for each algorithm the seeds of its training, validation and test teams."""
    return tuple(Team(f"{algorithm}_{seed}", algorithm, seed, split)
                 for algorithm, each in seeds.items()
                 for split, numbers in zip(("train", "validation", "test"), each, strict=True)
                 for seed in numbers)  # fmt: skip


# Teams for a study with disjoint splits: 4 to train against, 2 to choose settings by, and 10 to test, from one run
# each. Only iql and ippo occur in training. QMIX and VDN learn from one shared reward, which predators and prey, who
# compete, do not have: PQN takes their place there.
PARTNERS = generators(iql=((1, 2), (11,), (21, 22)), ippo=((1, 2), (11,), (21, 22)), qmix=((), (), (21, 22)),
                      mappo=((), (), (21, 22)), pqn_vdn=((), (), (21, 22)))  # fmt: skip
HUNTERS = generators(iql=((1, 2), (11,), (21, 22)), ippo=((1, 2), (11,), (21, 22)), mappo=((), (), (21, 22, 23)),
                     pqn=((), (), (21, 22, 23)))  # fmt: skip
# The teams of a task with scripts as its only training opponents: its four others only give states to the prior.
HUNTS = tuple(team._replace(split="prior") if team.split == "train" else team for team in HUNTERS)
# The tasks above with scripts that share neither predators nor prey (nor a round of the prey) between splits.
DISJOINT = {
    "disjoint_patrol": TASKS["patrol"]._replace(
        train=("guard+pair_corners", "centre+triple_sides", "follow+pair_mixed", "circle+triple_mixed",
               "inside+back_corners", "guard+quad_sides", "centre+triple_mixed", "follow+back_corners",
               "circle+pair_mixed", "inside+triple_mixed"),
        validation=("north+quad_corners", "west+quad_corners", "north+back_sides", "west+back_sides"),
        test=("chase+pair_sides", "ambush+triple_corners", "late+back_mixed", "mirror+quad_mixed",
              "outside+pair_sides", "chase+quad_mixed", "ambush+back_mixed", "late+pair_sides",
              "mirror+triple_corners", "outside+back_mixed", "chase+back_mixed", "late+triple_corners"),
        teams=(), generators=HUNTS),
    "disjoint_rounds": TASKS["predator_prey"]._replace(
        train=tag_scripts.TRAIN,
        validation=("north+windmill", "west+elbow", "north+hook", "west+bow", "north+arrow"),
        test=("chase+anticlockwise", "ambush+hourglass", "late+east_side", "mirror+south_side", "outside+falling",
              "chase+hourglass", "ambush+east_side", "late+south_side", "mirror+falling", "outside+anticlockwise",
              "chase+falling", "late+anticlockwise"),
        teams=(), generators=HUNTERS, teams_from=0.3),
    "disjoint_foraging": TASKS["coop_deadline"]._replace(
        train=foraging_scripts.TRAIN,
        validation=("first", "contested", "north_west", "meeting"),
        test=("second_nearest", "follower", "last", "east", "centre", "diagonal", "south_west", "highest_level",
              "south_east", "remote"),
        teams=(), generators=PARTNERS),
}  # fmt: skip
# Here, as on fixed rounds, teams are among the training opponents. Beside them from the first step a predator does
# not learn to chase the prey (distance_to_prey.py, partial_chase.py).
DISJOINT["disjoint_patrol_teams"] = DISJOINT["disjoint_patrol"]._replace(generators=HUNTERS, teams_from=0.3)
TEN, OTHERS = tuple(range(1, 11)), tuple(range(21, 31))  # seeds
# The tasks on which the OMG paper trains and tests with teams only: 10 to train against, others of the same algorithm
# (homologue) and of other algorithms (non-homologue) to test. The teams are IPPO's: a team of IQL takes five minutes,
# and has learned little of foraging after 300,000 steps.
REPRODUCTION = {
    "paper_foraging": TASKS["foraging"]._replace(
        train=(), validation=(), test=(), teams=(),
        generators=generators(ippo=(TEN, (11,), OTHERS), mappo=((), (), OTHERS[:5]), pqn_vdn=((), (), OTHERS[:5]))),
    "paper_hunt": TASKS["patrol"]._replace(
        train=(), validation=(), test=(), teams=(), about="*",
        generators=generators(ippo=(TEN, (11,), OTHERS), iql=((), (), OTHERS[:5]), mappo=((), (), OTHERS[:5]))),
}  # fmt: skip
STEPS = {name: task.steps for name, task in TASKS.items()}  # the usual lengths


def called(name: str) -> str:
    """The name of a task's runs and tables: the task, and the length of its runs if it is not the usual one."""
    steps = TASKS[name].steps
    return name if steps == STEPS[name] else f"{name}_{steps / 1e6:g}M"


def information(task: Task, more: str) -> list[str]:
    """The keys that set which information learners get about their opponents."""
    if more == "blind":
        return [f"opponent_information=[{task.seen.replace('actions', '').strip(',')}]", "use_rnn=False"]
    return [f"opponent_information=[{','.join(filter(None, (task.seen, more)))}]"]


def words_of(task: Task, arm: Arm) -> list[str]:
    """The keys of an arm's runs in a task."""
    words = [*task.words, *information(task, arm.information)]
    words += [f"omg_mode={task.mode}"] if arm.alg.startswith("omg") else []
    words += [f"model_subjects={task.about}"] if arm.alg in MODELS and task.about != "*" else []
    words += [f"model_horizon={task.horizon}"] if arm.alg == "place_prediction" else []
    return [*words, *arm.words]


class Arm(NamedTuple):
    """A method: a configuration, information on opponents in addition to the task's own, and other settings."""

    alg: str
    information: str = ""
    words: tuple[str, ...] = ()
    on_test: bool = False  # trained against the test opponents themselves


ARMS = {
    "base": Arm("ppo_history", "blind"),
    "history": Arm("ppo_history"),
    "naive_om": Arm("naive_om"),
    "liam": Arm("liam"),
    "omg": Arm("omg_ppo"),
    "place_prediction": Arm("place_prediction"),
    "object_prediction": Arm("object_prediction"),
    "bayes": Arm("ppo_history", "belief"),
    "next_actions": Arm("ppo_history", "next_actions"),
    "oracle": Arm("ppo_history", "goal"),
}
# one setting changed: the ablations of the OMG paper, and the settings of place prediction
CHOICES: dict[str, dict[str, tuple[str, ...]]] = {
    "omg": {
        "inference=mlp": ("omg_inference=mlp",),
        "selection=random": ("omg_selection=random",),
        "selection=next": ("omg_selection=next",),
        "selection=third": ("omg_selection=third",),
        "input=inferred": ("omg_input=inferred",),
        "input=prior": ("omg_input=prior",),
        "H=1": ("omg_horizon=1",),
        "H=3": ("omg_horizon=3",),
        "H=5": ("omg_horizon=5",),
        "mode=conservative": ("omg_mode=conservative",),
    },
    "place_prediction": {
        "places_H=1": ("model_horizon=1",),
        "places_H=5": ("model_horizon=5",),
        "places_H=10": ("model_horizon=10",),
        "places_condition_at=head": ("condition_at=head",),
        "places_memory=2": ("model_memory=2",),
        "places_memoryless": ("use_rnn=False",),  # the policy; the model keeps its traces
        "places_no_traces": ("model_decays=[]",),
        "places_tau=1": ("model_tau=1",),
        "places_about=everyone": ("model_subjects=*",),
    },
}
# the other models with the settings of place prediction; their policies keep their recurrent layer
AIDS = ("condition_at=input", "model_hidden_dim=128", "model_memory=20", "model_window=2", "model_tau=0.05",
        "model_lr=4e-3")  # fmt: skip
AIDED = {f"{name}_aided": Arm(name, words=AIDS) for name in ("naive_om", "liam")}
ARMS |= AIDED
CHANGED = {name: Arm(ARMS[arm].alg, words=words) for arm, each in CHOICES.items() for name, words in each.items()}
ARMS |= CHANGED
ONLY = {"object_prediction": "foraging"}  # arms that need one environment
MODELS = ("naive_om", "liam", "place_prediction", "meliba", "plastic")  # models that can predict some opponents only
USUAL = [name for name in ARMS if name not in CHANGED and name != "next_actions"]


# The settings that tuning started from and tried: first those of the base, then those of each method with the best
# of the base's. The best settings are the defaults now.
UNTUNED = "epochs=4 gae_lambda=0.95"
STARTS = {"omg_ppo": "omg_horizon=5", "naive_om": "model_lr=3e-4"}
TUNED = "epochs=2 gae_lambda=0.8"
SETTINGS = {
    "history": ("", "lr=1e-3", "lr=4e-3", "entropy_coef=0.003", "entropy_coef=0.03", "epochs=8", "epochs=2",
                "rollout_steps=50", "gae_lambda=0.9", "hidden_dim=128", "batch_size_run=64", "minibatches=8",
                "epochs=2 gae_lambda=0.9", "epochs=2 lr=1e-3", "epochs=2 minibatches=2", "epochs=1",
                "epochs=2 entropy_coef=0.03", "epochs=2 gae_lambda=0.8", "epochs=2 hidden_dim=128 lr=1e-3",
                "epochs=2 batch_size_run=256", "epochs=2 gae_lambda=0.9 lr=1e-3", "epochs=2 grad_norm_clip=1",
                "epochs=2 rollout_steps=13", "epochs=2 gae_lambda=0.9 entropy_coef=0.03", "epochs=2 gae_lambda=0.7"),
    **{arm: tuple(f"{TUNED} {own}".strip() for own in ("", *settings)) for arm, settings in {
        "base": (), "bayes": (), "oracle": (),
        "naive_om": ("model_lr=1e-3", "model_lr=1e-4", "model_epochs=2", "model_epochs=4", "model_hidden_dim=128",
                     "model_lr=1e-3 model_epochs=2"),
        "liam": ("model_lr=1e-3", "model_lr=1e-4", "model_epochs=2", "liam_code_dim=8", "liam_code_dim=32",
                 "model_hidden_dim=128"),
        "omg": ("omg_horizon=10", "vae_lr=1e-3", "omg_anneal_time=50000", "omg_vae_alpha=0.1", "omg_vae_alpha=1",
                "omg_mode=conservative",
                # six more, tried after the others
                "omg_horizon=10 vae_lr=1e-3", "omg_horizon=10 vae_lr=1e-3 model_epochs=4",
                "omg_horizon=10 vae_lr=3e-3 model_epochs=2", "omg_horizon=10 omg_vae_alpha=1 vae_lr=1e-3",
                "omg_horizon=10 vae_lr=1e-3 model_epochs=4 model_hidden_dim=128",
                "omg_input=inferred vae_lr=1e-3"),
    }.items()},
}  # fmt: skip
