"""Cryptography: the token key pair and file, CMS, signing, OAuth 1.0a."""
