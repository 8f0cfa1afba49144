"""Faust workers that turn facts into visits, funnels, queues and alerts."""
