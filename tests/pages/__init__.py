"""The pages' commands, run as written in a small world."""
