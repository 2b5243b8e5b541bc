"""Clients for other engines. Each folder stands alone: take one, and you need nothing else of this project."""
