"""The decision point: documents and facts in, one Decision out."""
