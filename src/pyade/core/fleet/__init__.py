"""The devices of a token: as Apple describes them, as the store remembers them, and when work is due."""
