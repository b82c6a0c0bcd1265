"""Who sends a request and what it may do: tokens, roles, namespaces, host names and the charts that may be deployed."""
