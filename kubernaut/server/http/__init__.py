"""HTTP: what a request and a call are as data, the app between them, its limits, its problems, its own description."""
