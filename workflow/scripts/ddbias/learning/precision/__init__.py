"""Compiled networks, in bfloat16 where a machine gains by it, and why a network cannot be compiled otherwise."""
