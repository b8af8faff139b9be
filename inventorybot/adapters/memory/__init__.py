"""The shipped fakes: every store without its database. Each passes the contract suite of the real one."""
