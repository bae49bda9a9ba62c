"""The pages of leads: how far people are, how far they agree, what they did, and what is done to many at once."""
