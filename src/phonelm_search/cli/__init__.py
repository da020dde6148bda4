"""The command line; a command file holds no logic."""
