"""pyade."""
