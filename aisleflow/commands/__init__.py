"""One module a command: a plain function that ``aisleflow.cli`` registers."""
