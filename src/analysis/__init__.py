"""Looking at what training has done: reading runs, statistics over seeds, curves."""
