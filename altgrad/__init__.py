"""altgrad: change one thing about how a small GPT is trained; learn whether it helped, and why."""

__version__ = "0.1.0"
