"""Programs on top of everything: the command line and what it runs. Nothing imports this package."""
