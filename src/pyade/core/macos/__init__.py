"""Facts and decisions about macOS and Macs: versions, Setup Assistant screens, models, identity, updates."""
