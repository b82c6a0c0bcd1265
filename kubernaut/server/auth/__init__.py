"""The gate: who asks, by which name, and what he may see, change and deploy."""
