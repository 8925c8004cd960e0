"""Whom a service lets in: roles, certificates, tokens, and which addresses need them. `trisync` uses it too."""
