"""Fixtures shared by these tests."""

from tests.worlds import new_world, profile, world

__all__ = ["new_world", "profile", "world"]
