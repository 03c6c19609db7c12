"""OMG: opponent modelling by subgoal inference (Yu, Jiang and Lu, NeurIPS 2024).

- ``prior.py``: p_psi(g | s) and its decoder p_omega(s | g), trained beforehand and frozen.
- ``selector.py``: selects the subgoal state s^g_t in hindsight.
- ``inference.py``: q_phi(g | tau_t, s_t), its decoder p_theta and their loss.
- ``model.py``: combines them, and conditions the policy (equation 8).
"""
