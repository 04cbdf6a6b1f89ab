"""What requests and responses hold, with OpenAI's names."""
