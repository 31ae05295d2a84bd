"""`python -m altgrad` is `altgrad`."""

from altgrad.cli import main

raise SystemExit(main())
