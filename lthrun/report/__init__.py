"""What people see: drawn from records and run directories, never from a live model."""
