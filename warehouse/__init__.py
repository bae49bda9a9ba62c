"""Tables that many processes append to, SQL over them, and immutable snapshots."""
