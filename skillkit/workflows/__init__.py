"""Workflows: one straight function per command."""
