"""What a state is worth, for learners that act by a policy of its own."""
