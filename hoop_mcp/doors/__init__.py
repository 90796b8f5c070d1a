"""The inbound rim: outcomes rendered for a protocol."""
