"""Amending what was submitted: cancel and replace, and a person's resolution of an unknown outcome."""
