"""Engines: whatever answers the OpenAI chat-completions API, started by us or not, behind one asynchronous client."""
