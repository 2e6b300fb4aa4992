"""What lasts: the data folder, the database, the lease, and files written whole or not at all."""
