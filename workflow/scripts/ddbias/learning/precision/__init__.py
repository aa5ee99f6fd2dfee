"""Computing in bfloat16 if the machine supports it, and reporting why not otherwise."""
