"""A folder for Python's path: what lies here is imported by Python itself, at a program's start."""
