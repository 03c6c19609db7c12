"""The return of a predator that chases the prey in a share of its steps only, with each training opponent of a pool.

    python benchmarks/partial_chase.py --run RUN --pool FOLDER

``RUN`` is a finished run of ``ppo_history`` that has learned to chase; in all other steps its predator acts as before
training. Writes ``benchmarks/omg/partial_chase.md``.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from distance_to_prey import built, measured
from omarl.opponents.pool import Member
from omarl.utils.checkpoints import find_checkpoint

OUT = Path(__file__).parent / "omg" / "partial_chase.md"
SHARES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.85, 1.0)


class Mixture:
    """A controller that acts as ``trained`` in a random ``share`` of steps, and else as ``untrained``."""

    def __init__(self, trained: Any, untrained: Any) -> None:
        self.trained, self.untrained, self.share = trained, untrained, 0.0
        self.generator = torch.Generator().manual_seed(0)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.trained, name)

    def act(self, seen: Any, last_actions: Any, carry: Any, *more: Any) -> tuple[Any, ...]:
        """See ``BasicMAC``. The memory is that of ``trained``; ``untrained`` has none."""
        actions, *rest = self.trained.act(seen, last_actions, carry, *more)
        fresh = self.untrained.initial_carry(len(carry))
        others = self.untrained.act(seen, last_actions, fresh, *more)[0]
        chases = torch.rand(actions.shape, generator=self.generator) < self.share
        return torch.where(chases, actions, others), *rest


def row(share: float, runner: Any, places: list[int], members: Sequence[Member], rollouts: int) -> str:
    """The returns of a share: the mean of all scripts, and each team."""
    runner.mac.share = share
    runner.begin()
    seen = [measured(runner.run(), places) for _ in range(rollouts)]
    _, reward, opponents = (torch.cat(each) for each in zip(*seen, strict=True))
    returns = [50 * float(reward[opponents == i].mean()) for i in range(len(members))]
    scripts = [value for value, member in zip(returns, members, strict=True) if member.kind == "scripted"]
    teams = [value for value, member in zip(returns, members, strict=True) if member.kind != "scripted"]
    return f"| {share:g} | {np.mean(scripts):.0f} | {' | '.join(f'{value:.0f}' for value in teams)} |"


def main() -> None:
    """Runs the command line that the module describes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", required=True)
    parser.add_argument("--pool", required=True)
    parser.add_argument("--rollouts", type=int, default=200, help="of 128 copies, for each share")
    args = parser.parse_args()
    torch.set_num_threads(1)
    made, members, places = built(args.pool, 1_000_000)
    runner: Any = made.runner
    untrained = copy.deepcopy(runner.mac)
    made.learner.load_models(find_checkpoint(args.run, 0))
    runner.mac = Mixture(runner.mac, untrained)
    teams = [member.name for member in members if member.kind != "scripted"]
    lines = ["# A predator that chases in a share of its steps", "",
             f"The learner's return in 50 steps with {len(members) - len(teams)} scripts (mean) and each team. In "
             f"the other steps it acts as before training. {args.rollouts} rollouts of 128 copies for each share. "
             "`python benchmarks/partial_chase.py --run RUN --pool FOLDER`", "",
             f"| share | scripts | {' | '.join(teams)} |", f"| --- | --- |{' --- |' * len(teams)}"]  # fmt: skip
    for share in SHARES:
        lines.append(row(share, runner, places, members, args.rollouts))
        print(lines[-1], flush=True)
    OUT.write_text("\n".join([*lines, ""]), encoding="utf-8")


if __name__ == "__main__":
    main()
