"""The enrollment profile: its settings, their rules, and their effect on one version of macOS."""
