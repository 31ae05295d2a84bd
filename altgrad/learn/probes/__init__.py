"""For every unit of a track: what to run, and what to look at."""
