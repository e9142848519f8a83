"""The commands by subject. Each loads torch when it runs, and only if it needs it."""
