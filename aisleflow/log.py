"""Structured logs: one JSON object a line, on standard error, with UTC times."""

import logging
import re
import sys
from typing import Any

import structlog
from structlog.tracebacks import ExceptionDictTransformer

_QUOTED = re.compile(r"'(?:[^'\\]|\\.)*'?")
# Errors whose words are the data that could not be read, or the statement.
_CITING = re.compile(
    r"(Code: \d+)\. DB::Exception.*\(((?:CANNOT|INCORRECT)_\w+|SYNTAX_ERROR|DECIMAL_OVERFLOW)\)", re.DOTALL
)


def without_values(message: str) -> str:
    """ClickHouse's error messages without the literals and rows that they cite: a log holds no one's data."""
    if citing := _CITING.search(message):
        return f"{message[: citing.start()]}{citing[1]} ({citing[2]})"
    return _QUOTED.sub("'...'", message) if "DB::Exception" in message else message


def _guard_values(_: Any, __: str, line: structlog.typing.EventDict) -> structlog.typing.EventDict:
    if isinstance(line.get("error"), str):
        line["error"] = without_values(line["error"])
    for raised in line["exception"] if isinstance(line.get("exception"), list) else ():
        raised["exc_value"] = without_values(raised["exc_value"])
    return line


def configure(level: str = "INFO") -> None:
    """Send structlog and the standard library's logging through one JSON renderer."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                # Without locals: they hold URLs with passwords.
                structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False)),
                _guard_values,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def get(name: str) -> structlog.stdlib.BoundLogger:
    """A logger; ``log.get(__name__).info("what_happened", key=value)``."""
    logger: structlog.stdlib.BoundLogger = structlog.get_logger(name)
    return logger
