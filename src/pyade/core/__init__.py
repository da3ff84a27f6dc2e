"""The pure domain: frozen classes, enums and decisions, without I/O, clock, HTTP or cryptography."""
