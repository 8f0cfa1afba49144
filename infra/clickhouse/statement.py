"""What a statement is, read from its text: kind, format, inline data, and whether its user may run it.

The engine would run ``SELECT 1; DROP TABLE t`` as two statements and lets a read-only connection read files (``SELECT
file(...)``, ``DESCRIBE url(...)``, ``INTO OUTFILE``). A real server does neither, so the text is checked first.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

# Text is handled as Latin-1, which keeps every byte, since binary data may follow the statement. A string is taken in
# one piece and for good (`++`, `*+`): workers send strings of a megabyte.
_TOKEN = re.compile(
    r"""(?P<skip>\s+|--[^\n]*|\#[\ !][^\n]*|/\*.*?\*/)
      |(?P<string>'(?:[^'\\]++|\\.|'')*+'|\$(?P<tag>\w*)\$.*?\$(?P=tag)\$)
      |(?P<quoted>"(?:[^"\\]|\\.|"")*"|`(?:[^`\\]|\\.|``)*`)
      |(?P<word>[A-Za-z_][A-Za-z_0-9$]*)
      |(?P<mark>.)""",
    re.VERBOSE | re.DOTALL,
)
_DATA_GAP = re.compile(rb"[ \t\r]*\n?")
#: A USE ends with its request.
_READING_STATEMENTS = {"SELECT", "WITH", "SHOW", "DESCRIBE", "DESC", "EXISTS", "EXPLAIN", "USE"}
_OTHER_STATEMENTS = {
    "ALTER", "ATTACH", "BACKUP", "BEGIN", "CHECK", "COMMIT", "COPY", "CREATE", "DELETE", "DETACH", "DROP", "EXCHANGE", "EXECUTE", "GRANT",
    "INSERT", "INSERT SELECT", "KILL", "MOVE", "OPTIMIZE", "RENAME", "REPLACE", "RESTORE", "REVOKE", "ROLLBACK", "SYSTEM", "TRUNCATE",
    "UNDROP", "UPDATE", "WATCH",
}  # fmt: skip
#: Table functions that compute from their arguments or read only what SELECT may read anyway.
HARMLESS_TABLE_FUNCTIONS = {
    "format", "generate_series", "generaterandom", "generateseries", "null", "numbers", "numbers_mt", "primes",
    "values", "view", "zeros", "zeros_mt",
}  # fmt: skip
# Refused wherever they stand: functions need no parenthesis in `arrayMap(file, ...)` or `APPLY file`.
REACHES_OUTSIDE = {
    "aiclassify", "aiembed", "aiextract", "aifilter", "aigenerate", "airedact", "aisimilarity", "aitranslate", "eval",
    "executable", "file", "infile", "outfile",
}  # fmt: skip
#: What tells about other users' statements.
OTHERS_BUSINESS = {"processes", "processlist", "query_log", "query_thread_log", "query_views_log", "user_processes"}
_NAMED_LATER = re.compile(r"\{\s*\w+\s*:\s*Identifier\s*\}", re.IGNORECASE)
_MAY_REACH_OUTSIDE = re.compile(rf"\b(?:{'|'.join(sorted(REACHES_OUTSIDE))})\b", re.IGNORECASE)
# The engine takes these as quotes too, and so would read other tokens than we do.
_TYPOGRAPHIC_QUOTES = re.compile("[\u2018\u2019\u201c\u201d]")


class StatementError(ValueError):
    """The statement is refused; ``code`` is ClickHouse's code for the reason."""

    def __init__(self, code: int, name: str, reason: str) -> None:
        super().__init__(f"Code: {code}. DB::Exception: {reason} ({name})")
        self.code = code


@dataclass(frozen=True)
class Statement:
    """One statement without its inline data and, for an INSERT with data, without its FORMAT clause."""

    sql: str
    kind: str
    format: str | None
    data: bytes | None = None


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    start: int
    end: int


def _tokens(text: str) -> Iterator[_Token]:
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup or "mark"
        if kind == "tag":
            kind = "string"
        if kind != "skip":
            yield _Token(kind, match[0], match.start(), match.end())


def parse(body: bytes) -> Statement:
    """Read one statement, and the data after it when it is an INSERT that carries some.

    Raises:
        StatementError: the text is empty, not UTF-8, or holds more than one statement.
    """
    text = body.decode("latin-1")
    depth = 0
    kind = output = ""
    previous = end = None
    for token in _tokens(text):
        word = token.text.upper() if token.kind == "word" else ""
        if end is not None:
            raise StatementError(62, "SYNTAX_ERROR", "Syntax error: Multi-statements are not allowed")
        if token.text == ";" and token.kind == "mark":
            end = token.start
            continue
        depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(token.text, 0) if token.kind == "mark" else 0
        kind = kind or word
        if depth == 0 and kind == "INSERT":
            if word in {"SELECT", "WITH", "WATCH", "INFILE"}:
                kind = "INSERT SELECT"
            elif word == "VALUES":
                return Statement(_utf8(body[: token.start]), kind, "Values", body[token.end :])
            elif previous == "FORMAT" and word:
                head = _utf8(body[: text.upper().rindex("FORMAT", 0, token.start)])
                gap = _DATA_GAP.match(body, token.end)
                return Statement(head, kind, token.text, body[gap.end() if gap else token.end :])
        elif depth == 0 and previous == "FORMAT" and word:
            output = token.text
        previous = word
    if not kind:
        raise StatementError(62, "SYNTAX_ERROR", "Syntax error: Empty query")
    return Statement(_utf8(body[:end]), kind, output or None)


def _utf8(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise StatementError(62, "SYNTAX_ERROR", "Syntax error: the statement is not UTF-8") from None


def _refusal(user: str, what: str) -> StatementError:
    return StatementError(497, "ACCESS_DENIED", f"{user}: Not enough privileges: {what} is not allowed.")


def check_writer(statement: Statement) -> None:
    """Refuse what the engine's grants let pass and is none of a writer's business.

    Raises:
        StatementError: other users' queries would be ended, or files of the server reached.
    """
    if statement.kind == "KILL":  # which the server itself must be able to do
        raise _refusal("aisleflow", "KILL")
    # Statements may be long (ids to look up): taken apart only if there is something to find.
    if _MAY_REACH_OUTSIDE.search(statement.sql) or "\\" in statement.sql or _TYPOGRAPHIC_QUOTES.search(statement.sql):
        for token in _tokens(statement.sql):
            if _name(token, "aisleflow") in REACHES_OUTSIDE:
                raise _refusal("aisleflow", token.text)


def _name(token: _Token, user: str) -> str:
    """The name that a token is, in lower case; empty for any other token."""
    if token.kind == "quoted" and "\\" in token.text:
        raise _refusal(user, "a backslash in a quoted name")
    return token.text.strip('`"').lower() if token.kind in {"word", "quoted"} else ""


def check_reader(user: str, statement: Statement, table_functions: frozenset[str]) -> None:
    """Refuse what a read-only connection of the engine would still let through.

    Args:
        user: who sent it, ``reader`` or ``analyst``.
        statement: what they sent.
        table_functions: the engine's table functions, in lower case.

    Raises:
        StatementError: not a reading statement, or one that would reach files, the network or other servers.
    """

    if statement.kind == "SET":
        raise StatementError(164, "READONLY", "Cannot modify settings in readonly mode; each request has its own.")
    if statement.kind in _OTHER_STATEMENTS:
        raise _refusal(user, statement.kind)
    if statement.kind not in _READING_STATEMENTS:
        raise StatementError(62, "SYNTAX_ERROR", f"Syntax error: {statement.kind[:40]!r} begins no statement")
    if _TYPOGRAPHIC_QUOTES.search(statement.sql):
        raise _refusal(user, "a typographic quote (write ' or \")")
    if _NAMED_LATER.search(statement.sql):
        raise _refusal(user, "a name as a parameter")
    outside = table_functions - HARMLESS_TABLE_FUNCTIONS
    before = ""
    for token in _tokens(statement.sql):
        name = _name(token, user)
        if name in REACHES_OUTSIDE or name in OTHERS_BUSINESS:
            raise _refusal(user, name)
        if token.text == "(" and before in outside:
            raise _refusal(user, f"the table function {before}")
        before = name
