"""The server: OpenAI's routes, LLM Engine's, the workspace's, and the studio's files, over one engine thread a model."""
