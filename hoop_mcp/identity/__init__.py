"""Transport facts to a Principal, or nobody."""
