"""The outbound rim: one file per outside thing, each meeting a Protocol of the core. Imported by wiring only."""
