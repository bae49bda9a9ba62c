"""The review app: people look at replies one by one and say what they think of them."""
