"""From the domain to Apple's documents: the profile's JSON, the enrollment profile, and the stores' own form."""
