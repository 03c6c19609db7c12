"""The complete configuration of a run: its keys, the layers that set them, and what the user asked for."""
