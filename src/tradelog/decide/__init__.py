"""Deciding: what is to be traded and why, on record before anything is sent."""
