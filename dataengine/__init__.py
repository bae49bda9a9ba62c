"""The data engine: prompts in, attempts and verdicts out, and the mixes made of them."""

__version__ = "0.1.0"
