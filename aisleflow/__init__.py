"""The command line, and what every room shares: settings, logging and metric definitions."""
