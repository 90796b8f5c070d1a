"""Obligations to masked rows. Detection (Presidio) is loaded in the worker process only."""
