"""Optimisers: torch's numbers without torch's compiler."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("name", ["adam", "rmsprop"])
def test_optimisers_equal_torchs_and_do_not_import_its_compiler(name):
    code = f"""
import sys, torch
from omarl.components.optimisers import make_optimiser
torch.manual_seed(0)
mine, other = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
other.load_state_dict(mine.state_dict())
one = make_optimiser("{name}", mine.parameters(), 0.1)
for _ in range(3):
    one.zero_grad(set_to_none=True)
    mine(torch.ones(1, 3)).square().sum().backward()
    one.step()
saved = one.state_dict()
one.load_state_dict(saved)
assert "torch._dynamo" not in sys.modules
kind, further = (torch.optim.Adam, {{"fused": True}}) if "{name}" == "adam" else (torch.optim.RMSprop, {{}})
two = kind(other.parameters(), lr=0.1, eps=1e-5, **further)
for _ in range(3):
    two.zero_grad(set_to_none=True)
    other(torch.ones(1, 3)).square().sum().backward()
    two.step()
assert all(torch.equal(a, b) for a, b in zip(mine.parameters(), other.parameters()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
