"""Computing in bfloat16 where the machine has it, and telling where it does not help."""
