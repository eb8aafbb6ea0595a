"""The way in: what the connection Secret says, its URL, certificates, passwords, poolers."""
