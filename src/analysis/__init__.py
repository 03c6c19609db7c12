"""Reads and compares runs: metrics, statistics over seeds, pictures, and the diagnosis of VAEs."""
