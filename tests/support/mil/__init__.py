"""Cases of every MIL op, and programs made of one."""
