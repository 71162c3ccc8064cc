"""What is written and read: whole, verified, and never executed."""
