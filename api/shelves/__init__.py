"""Photos of shelves over HTTP."""
