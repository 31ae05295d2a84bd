"""Arms that are other people's programs: made of arguments, run, and how fair that can be called."""
