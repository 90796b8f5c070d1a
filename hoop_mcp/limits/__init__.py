"""What one principal may use in a stretch of time and at one moment: budgets, turns, and the smallest group shown."""
