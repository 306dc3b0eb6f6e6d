"""``python -m jaxresearch`` is the command line."""

from jaxresearch.cli import main

raise SystemExit(main())
