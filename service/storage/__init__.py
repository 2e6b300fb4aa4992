"""Storage: the data folder, the database, the lease of the cameras, and files that are written whole or not at all."""
