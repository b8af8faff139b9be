"""Network plans around the solver: requests, the network as it stands, the planner, pictures."""
