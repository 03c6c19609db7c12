"""State-value networks of the actor-critic learners."""
