"""Tamper evidence, without knowing where bytes rest."""
