"""Other workflow systems, doing the same work in the same rounds: each in an environment of its own, by an adapter here."""
