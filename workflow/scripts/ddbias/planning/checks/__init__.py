"""What a study asks for and cannot have: one readable line each."""
