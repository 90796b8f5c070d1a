"""Text to facts: the offline reader, PostgreSQL's own trees, and the tracer over them."""
