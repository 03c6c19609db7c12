"""Opponent models: what is inferred of opponents from the learner's own history. One file or folder a method."""
