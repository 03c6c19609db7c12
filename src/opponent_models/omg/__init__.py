"""OMG: opponent modelling by subgoal inference (Yu, Jiang and Lu, NeurIPS 2024).

``prior.py`` p_psi(g | s) and its decoder p_omega(s | g), trained before and frozen; ``selector.py`` the subgoal in
hindsight, s^g_t; ``inference.py`` q_phi(g | tau_t, s_t), its decoder p_theta and their loss; ``model.py`` puts them
together: mixture, and targets of the policy (equation 8).
"""
