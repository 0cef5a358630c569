"""LinearOperator to Bracket, a module per algorithm."""
