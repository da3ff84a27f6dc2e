"""The enrollment profile: its settings, their rules, and what they do on one version of macOS."""
