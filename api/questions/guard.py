"""What SQL from a model may be: one SELECT over listed tables by listed functions, and over the asker's shops only.

It is taken apart by sqlglot and written anew from what was found, so that what runs is what was checked. Everything that is not
listed is refused: kinds of expressions, tables, functions. ClickHouse's reader, who runs it, may only read, and its limits hold.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlglot import exp


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


MOST_ROWS = 1000
MOST_CHARACTERS = 6000
#: What a model may ask, and whether it has store_id.
TABLES: dict[str, bool] = {
    **dict.fromkeys(
        (
            *(
                "visitors",
                "visits_final",
                "zone_visits_final",
                "queue_depth_final",
                "queue_waits",
                "receipts",
                "baskets",
            ),
            *("store_days", "anomalies_final", "stock_movements_final", "stock_positions_final"),
            *("stock_discrepancies_final", "store_layouts_final"),
        ),
        True,
    ),
    "products_final": False,
}
#: Functions by the names that ClickHouse has for them, in lower case.
FUNCTIONS = _words(
    """
    count countif sum sumif avg avgif min minif max maxif any anyif anylast argmin argmax uniq uniqexact uniqif
    uniqexactif median quantile quantileexact quantiles stddevpop stddevsamp varpop varsamp grouparray
    groupuniqarray corr abs round floor ceil greatest least sign sqrt pow power log exp mod modulo intdiv if
    ifnull nullif coalesce multiif isnull isnotnull assumenotnull tonullable todate todatetime todatetime64
    tostring tofloat64 toint32 toint64 touint8 touint32 touint64 todecimal64 toyear tomonth todayofmonth
    todayofweek tohour tominute tostartofday tostartofweek tostartofmonth tostartofhour tomonday toyyyymm
    todayofyear toquarter tostartofquarter tostartofyear datediff dateadd datesub date_add date_sub date_diff
    datetrunc date_trunc adddays subtractdays addhours subtracthours addweeks subtractweeks addmonths
    subtractmonths formatdatetime now today yesterday lower upper length trim substring concat like ilike
    startswith endswith position positioncaseinsensitive replaceall empty notempty row_number rank dense_rank lag
    lead laginframe leadinframe first_value last_value and or not equals notequals in
    """
)
#: Names by which sqlglot knows functions that ClickHouse calls otherwise.
_OWN_NAMES = _words(
    """
    argmax argmin approxdistinct countif avg sum min max count anyvalue median quantile stddevpop stddevsamp
    stddev variance variancepop abs round floor ceil greatest least sign sqrt pow ln log exp mod if case coalesce
    nullif cast trycast todate timestamptrunc datetrunc datediff dateadd datesub timestampadd timestampsub
    timestampdiff tsordsadd tsordstodate year month dayofmonth day dayofweek dayofweekiso dayofyear hour minute
    quarter week currentdate currenttimestamp currentdatetime interval lower upper length trim substring concat
    strposition startswith endswith replace rownumber rank denserank lag lead firstvalue lastvalue arrayagg corr
    and or not xor parameterizedagg combinedaggfunc combinedparameterizedagg anonymousaggfunc anonymous isnullfunc
    timetostr uniq tsordstotimestamp
    """
)
_SHAPES = _words(
    """
    select subquery with cte from join where group having order ordered limit offset table tablealias alias column
    identifier literal star boolean null paren tuple eq neq gt gte lt lte and or not between in is like ilike add
    sub mul div intdiv mod neg case if cast trycast datatype datatypeparam interval var window windowspec distinct
    union dpipe
    """
)


_PART = "part_"


class Refused(ValueError):
    """The SQL is not one that may run; the message says why, in a few words."""


def checked(sql: str, shops: frozenset[str] | None) -> str:
    """The SQL as it may run, at most ``MOST_ROWS`` and one row more.

    Args:
        sql: what a model wrote.
        shops: the only shops that the asker may see, then the parameter ``shops`` (Array(String)) of the result; None: all.

    Raises:
        Refused: it is more than one SELECT, or uses what is not listed.
    """
    import logging

    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import SqlglotError

    text = sql.strip().rstrip(";").strip()
    if not text or len(text) > MOST_CHARACTERS:
        raise Refused("it is empty, or too long")
    # Braces are parameters, backslashes and backquotes ways around a reading; nobody needs them here.
    if any(mark in text for mark in "{}\\\0`#$@"):
        raise Refused("it has a character that is not allowed")
    logging.getLogger("sqlglot").setLevel(logging.ERROR)  # it warns of what is refused below
    try:
        found = sqlglot.parse(text, dialect="clickhouse")
    except (SqlglotError, RecursionError, ValueError):
        raise Refused("it cannot be read as SQL") from None
    if len(found) != 1 or found[0] is None:
        raise Refused("it is not one statement")
    tree = found[0]
    if not isinstance(tree, exp.Select | exp.Union):
        raise Refused("it is not a SELECT")
    named = {cte.alias for cte in tree.find_all(exp.CTE)}
    if named & TABLES.keys():
        raise Refused("it gives a table's name to something else")
    for node in tree.walk():
        _check(node, named)
    inner = tree.transform(lambda node: _held(node, named, shops is not None)).sql(dialect="clickhouse", comments=False)
    return f"SELECT * FROM ({inner}) LIMIT {MOST_ROWS + 1}"  # noqa: S608 - the tree above


def _check(node: exp.Expr, named: set[str]) -> None:
    from sqlglot import exp

    kind = node.key.replace("_", "")
    if isinstance(node, exp.Table):
        if not isinstance(node.this, exp.Identifier):
            raise Refused("it reads from a function")
        if node.args.get("db") or node.args.get("catalog"):
            raise Refused("it names a database")
        if node.name.lower() not in named and node.name not in TABLES:
            raise Refused(f"it reads {node.name[:60]!r}, which is not listed")
        if {key for key, value in node.args.items() if value} - {"this", "alias", "joins"}:
            raise Refused("it reads a table in a way that is not allowed")
        return
    if isinstance(node, exp.In):
        # `x IN name` and `x IN (name)` read a table without naming it one.
        if node.args.get("field") or node.args.get("unnest") or any(one.find(exp.Column) for one in node.expressions):
            raise Refused("it looks up something that is no list and no query")
        return
    if isinstance(node, exp.Func) and kind not in _SHAPES:
        own = (
            str(node.this).lower()
            if isinstance(node, exp.Anonymous | exp.AnonymousAggFunc | exp.CombinedAggFunc | exp.ParameterizedAgg)
            else ""
        )
        if own not in FUNCTIONS if own else not {kind, node.sql_name().lower()} & (FUNCTIONS | _OWN_NAMES):
            raise Refused(f"it uses the function {(own or node.sql_name())[:60]!r}, which is not listed")
        return
    if kind not in _SHAPES:
        raise Refused(f"it uses {node.key.upper()[:60]}, which is not listed")
    if isinstance(node, exp.Select) and {key for key, value in node.args.items() if value} - _SELECT_PARTS:
        raise Refused("it has a clause that is not listed")
    if isinstance(node, exp.Join) and (node.args.get("global_") or node.args.get("global")):
        raise Refused("it has a clause that is not listed")
    if isinstance(node, exp.Star) and any(node.args.values()):
        raise Refused("it changes what * means")


# sqlglot writes "from" and "with" with an underscore from one version on.
_SELECT_PARTS = frozenset(
    [
        "with",
        "with_",
        "expressions",
        "distinct",
        "from",
        "from_",
        "joins",
        "where",
        "group",
        "having",
        "order",
        "limit",
        "offset",
        "windows",
    ]
)


def _held(node: exp.Expr, named: set[str], has_shops: bool) -> exp.Expr:
    """A table as a subquery over the asker's shops; a part that WITH names under a name that no table has."""
    from sqlglot import exp

    if isinstance(node, exp.CTE):
        node.args["alias"].set("this", exp.to_identifier(f"{_PART}{node.alias}"))
        return node
    if not isinstance(node, exp.Table):
        return node
    alias = exp.TableAlias(this=exp.to_identifier(node.alias_or_name))
    if node.name in named:
        # In its own body the name would mean a table: a part is never called as one.
        found: exp.Expr = exp.Table(this=exp.to_identifier(f"{_PART}{node.name}"), alias=alias)
    elif has_shops and TABLES[node.name]:
        kind = exp.DataType.build("Array(String)", dialect="clickhouse")
        mine = exp.In(this=exp.column("store_id"), field=exp.Placeholder(this="shops", kind=kind))
        found = exp.Subquery(this=exp.select("*").from_(exp.to_table(node.name)).where(mine), alias=alias)
    else:
        return node
    if node.args.get("joins"):
        found.set("joins", node.args["joins"])
    return found
