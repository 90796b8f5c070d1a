"""What an agent may ask for. A tool turns arguments into a ToolCall; it holds no connection, so it cannot skip the gate."""
