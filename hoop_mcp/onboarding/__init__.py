"""The first minutes: demo, doctor, client configuration."""
