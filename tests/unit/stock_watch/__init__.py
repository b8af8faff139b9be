"""Stock against forecast: the arithmetic of the outlook, the rules of the watch, and the agent on the shipped fakes."""
