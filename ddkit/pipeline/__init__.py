"""From a request to an artifact, and what is asked of one: distill, relabel, evaluate, plan."""
