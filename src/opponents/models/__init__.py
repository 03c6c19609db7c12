"""What learners believe of their opponents: networks alone."""
