"""The thin FastAPI: programs get answers here, people get pages."""
