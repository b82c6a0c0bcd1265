"""The calls of the API: what each takes, what it answers, and where the answer comes from."""
