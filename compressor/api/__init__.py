"""What the toolkit does, for programs: the public functions, and what the command line goes through as well."""
