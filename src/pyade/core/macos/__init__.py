"""What is known of macOS and of Macs: versions, Setup Assistant screens, models, identities, updates."""
