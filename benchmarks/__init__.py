"""What measures the models and the service, and what builds the files that ship with them; not part of the package."""
