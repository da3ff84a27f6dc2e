"""Shared by the fake web services: requests, responses, scripted faults, request log, transport, server."""
