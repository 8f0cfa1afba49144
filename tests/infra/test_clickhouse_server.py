"""The embedded server, through the clients people use: clickhouse-connect and plain HTTP."""

import concurrent.futures
import gzip
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import clickhouse_connect
import httpx
import lz4.frame
import pytest
import zstandard
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError, DatabaseError, StreamFailureError

from infra.clickhouse.compression import MAX_BODY_BYTES
from infra.clickhouse.statement import HARMLESS_TABLE_FUNCTIONS, REACHES_OUTSIDE
from tests.conftest import answers, free_port

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def client(clickhouse: str) -> Iterator[Client]:
    with clickhouse_connect.get_client(dsn=clickhouse, autogenerate_session_id=False) as first:
        first.command("CREATE DATABASE server_test")
        first.database = "server_test"
        first.command(
            "CREATE TABLE t (a UInt64, b String) ENGINE = ReplacingMergeTree ORDER BY a "
            "SETTINGS non_replicated_deduplication_window = 100"
        )
        yield first


@pytest.fixture(scope="module")
def analyst(clickhouse: str, client: Client) -> Iterator[Client]:
    url = urlsplit(clickhouse)
    assert url.password is not None
    password = url.password[::-1]
    with clickhouse_connect.get_client(
        host="127.0.0.1", port=url.port or 0, username="analyst", password=password, database="server_test"
    ) as found:
        yield found


@pytest.fixture(scope="module")
def http(clickhouse: str) -> Iterator[httpx.Client]:
    url = urlsplit(clickhouse)
    auth = (url.username or "", url.password or "")
    with httpx.Client(base_url=f"http://127.0.0.1:{url.port}", auth=auth, timeout=30) as found:
        yield found


@pytest.fixture
def table(client: Client) -> str:
    client.command("TRUNCATE TABLE t")
    return "t"


def test_a_token_makes_a_repeated_insert_one(client: Client, table: str) -> None:
    rows = [[n, f"é{n}"] for n in range(1000)]
    for _ in range(2):
        client.insert(table, rows, column_names=["a", "b"], settings={"insert_deduplication_token": "once"})
    assert client.command(f"SELECT count() FROM {table}") == 1000
    block = b'{"a": 1, "b": "x"}\n'
    for _ in range(2):
        summary = client.raw_insert(
            table, insert_block=block, fmt="JSONEachRow", settings={"insert_deduplication_token": "raw"}
        )
        assert summary.written_rows == 1
    assert client.query(f"SELECT b FROM {table} WHERE a = 1 ORDER BY b").result_rows == [("x",), ("é1",)]


def test_an_insert_may_carry_settings(client: Client, http: httpx.Client, table: str) -> None:
    statement = f"INSERT INTO server_test.{table} (a, b) SETTINGS insert_deduplication_token = 'one' FORMAT RowBinary"
    for number in (1, 2):
        row = number.to_bytes(8, "little") + b"\x02\xff\x00"
        assert http.post("/", params={"query": statement}, content=row).status_code == 200
    assert client.query(f"SELECT a, hex(b) FROM {table}").result_rows == [(1, "FF00")]


@pytest.mark.parametrize("compression", ["lz4", "zstd", "gzip", None])
def test_compression_both_ways(clickhouse: str, client: Client, table: str, compression: str | None) -> None:
    raw = b"".join(b'{"a": %d, "b": "%d"}\n' % (n, n) for n in range(20_000))
    pack = {"lz4": lz4.frame.compress, "zstd": zstandard.compress, "gzip": gzip.compress, None: bytes}[compression]
    # Two frames, one after the other, are one body.
    half = raw.index(b"\n", len(raw) // 2) + 1
    block = pack(raw[:half]) + pack(raw[half:])
    client.raw_insert(table, insert_block=block, fmt="JSONEachRow", compression=compression)
    with clickhouse_connect.get_client(dsn=f"{clickhouse}/server_test", compress=compression or False) as reader:
        rows = reader.query(f"SELECT a, b FROM {table} ORDER BY a").result_rows
    assert rows == [(n, str(n)) for n in range(20_000)]


def test_parameters_are_values_and_never_sql(client: Client, table: str) -> None:
    nasty = "a'; DROP TABLE t; -- \\ \n \t {x:String} é"
    found = client.query(
        "SELECT {x:String}, {n:Array(UInt64)}", parameters={"x": nasty, "n": list(range(30_000))}
    ).result_rows[0]
    assert found == (nasty, list(range(30_000)))
    with pytest.raises(DatabaseError, match="Code: 457"):
        client.query("SELECT {n:UInt64}", parameters={"n": "5 UNION ALL SELECT 1"})


def test_every_format_whole_or_empty(client: Client, http: httpx.Client) -> None:
    for rows in (0, 3, 200_000):
        sql = f"SELECT number FROM numbers({rows}) FORMAT "
        assert http.post("/", content=sql + "CSVWithNames").text.count("number") == 1
        assert http.post("/", content=sql + "JSON").json()["rows"] == rows
        assert len(http.post("/", content=sql + "TSV").text.splitlines()) == rows
        assert client.query_arrow(f"SELECT number FROM numbers({rows})").num_rows == rows
    assert client.query("SELECT number FROM numbers(3000000) WHERE number % 1000000 = 1").result_rows == [
        (1,),
        (1_000_001,),
        (2_000_001,),
    ]


def test_http_as_curl_speaks_it(http: httpx.Client) -> None:
    assert http.get("/ping").text == "Ok.\n"
    assert http.get("/").text == "Ok.\n"
    answer = http.get("/", params={"query": "SELECT {x:String} AS x", "param_x": "é", "default_format": "JSON"})
    assert answer.json()["data"] == [{"x": "é"}]
    assert answer.headers["X-ClickHouse-Format"] == "JSON"
    assert answer.headers["X-ClickHouse-Timezone"]
    form = http.post("/", content="SELECT 1", headers={"Content-Type": "application/x-www-form-urlencoded"})
    assert form.text == "1\n"
    insert = http.post("/", params={"query": "INSERT INTO server_test.t FORMAT CSV"}, content=b'7,"seven"\n8,"eight"\n')
    assert '"written_rows": "2"' in insert.headers["X-ClickHouse-Summary"]
    # GET is for reading.
    refused = http.get("/", params={"query": "CREATE TABLE server_test.u (a UInt8) ENGINE = Memory"})
    assert refused.headers["X-ClickHouse-Exception-Code"] == "164"


@pytest.mark.parametrize(
    ("sql", "status", "code"),
    [
        ("SELEC 1", 400, "62"),
        ("SELECT 1; SELECT 2", 400, "62"),
        ("SELECT nothing", 404, "47"),
        ("SELECT * FROM nowhere", 404, "60"),
        ("SELECT throwIf(1)", 500, "395"),
        ("INSERT INTO server_test.t FORMAT JSONEachRow {\"a\": \"x\"}", 400, "27"),
    ],
)  # fmt: skip
def test_errors_as_clickhouse_tells_them(http: httpx.Client, sql: str, status: int, code: str) -> None:
    answer = http.post("/", content=sql)
    assert (answer.status_code, answer.headers["X-ClickHouse-Exception-Code"]) == (status, code)
    assert answer.text.startswith(f"Code: {code}. DB::Exception: ")


def test_an_error_after_the_first_rows_is_an_error(client: Client) -> None:
    with pytest.raises(StreamFailureError, match="395"):
        _ = client.query("SELECT number, throwIf(number = 4000000) FROM numbers(5000000)").result_rows


def test_settings_hold_for_one_request(http: httpx.Client) -> None:
    read = "SELECT getSetting('max_threads')"
    before = http.post("/", content=read).text
    assert http.post("/", params={"max_threads": "7"}, content=read).text == "7\n"
    assert http.post("/", content=read).text == before
    for name in ("no_such_setting", "x=1, readonly", "a'b"):
        assert http.post("/", params={name: "1"}, content=read).status_code == 404


def test_nothing_of_a_query_holds_for_the_next_on_its_connection(http: httpx.Client, table: str) -> None:
    def ask(sql: str, **given: str) -> httpx.Response:
        return http.post("/", params=given, content=sql)

    threads, name = "SELECT getSetting('max_threads')", "SELECT {name:String}"
    for _ in range(3):
        for value in ("7", "3"):
            assert ask(threads, max_threads=value).text == f"{value}\n"
        assert ask(threads, max_threads="many").status_code == 400
        assert ask(f"{threads} SETTINGS max_threads = 5", max_threads="7").text == "5\n"
        assert ask(name, param_name="x").text == "x\n"
        assert "is not set" in ask(name).text
        assert ask(
            f"INSERT INTO server_test.{table} VALUES ({{a:UInt64}}, {{b:String}})", param_a="1", param_b="x"
        ).is_success
        assert "is not set" in ask(f"INSERT INTO server_test.{table} VALUES ({{a:UInt64}}, {{b:String}})").text
        assert ask(f"SELECT count() FROM {table}", database="server_test").is_success
        assert "UNKNOWN_TABLE" in ask(f"SELECT count() FROM {table}").text
        assert ask("SELECT 1", readonly="1").text == "1\n"
        assert ask("SELECT 1", readonly="1", max_threads="2").text == "1\n"
        written = http.get("/", params={"query": f"INSERT INTO server_test.{table} VALUES (2, 'y')"})
        assert "READONLY" in written.text


@pytest.mark.parametrize(
    "credentials", [("", ""), ("aisleflow", "wrong"), ("default", ""), ("analyst", ""), ("é", "é")]
)
def test_wrong_credentials(http: httpx.Client, credentials: tuple[str, str]) -> None:
    user, password = (part.encode() for part in credentials)
    by_header = {"X-ClickHouse-User": user, "X-ClickHouse-Key": password}
    for answer in (
        httpx.get(http.base_url, params={"query": "SELECT 1"}, auth=(user, password)),
        httpx.get(http.base_url, params={"query": "SELECT 1"}, headers=by_header),
        httpx.get(http.base_url, params={"query": "SELECT 1", "user": user, "password": password}),
    ):
        assert answer.status_code == 401
        assert answer.headers["X-ClickHouse-Exception-Code"] == "516"


def test_an_analyst_reads_and_nothing_else(analyst: Client, client: Client, table: str, tmp_path: Path) -> None:
    client.insert(table, [[1, "x"]], column_names=["a", "b"])
    assert analyst.query(f"SELECT a, b FROM {table}").result_rows == [(1, "x")]
    secret, outfile = tmp_path / "secret", tmp_path / "out"
    secret.write_text("secret")
    for sql in (
        f"INSERT INTO {table} VALUES (2, 'y')",
        f"DROP TABLE {table}",
        f"TRUNCATE TABLE {table}",
        "SET readonly = 0",
        "SELECT 1 SETTINGS readonly = 0",
        "SELECT 1 SETTINGS max_execution_time = 1000",
        f"SELECT file('{secret}')",
        f"SELECT arrayMap(file, ['{secret}'])",
        f"SELECT * FROM file('{secret}', 'LineAsString')",
        f"DESCRIBE file('{secret}')",
        f"SELECT 1 INTO OUTFILE '{outfile}'",
        "KILL QUERY WHERE 1",
    ):
        with pytest.raises(ClickHouseError, match=r"Code: (497|164)\."):
            analyst.command(sql)
    assert not outfile.exists()
    assert client.query(f"SELECT a, b FROM {table}").result_rows == [(1, "x")]


def test_an_analyst_cannot_raise_the_limits(analyst: Client, clickhouse: str) -> None:
    url = urlsplit(clickhouse)
    assert url.password is not None
    with httpx.Client(base_url=f"http://127.0.0.1:{url.port}", auth=("analyst", url.password[::-1])) as http:
        read = "SELECT getSetting('max_execution_time')"
        for asked, held in (("9999", "30"), ("0", "30"), ("-1", "30"), ("nan", "30"), ("5", "5")):
            assert http.post("/", params={"max_execution_time": asked}, content=read).text.strip() == held
        refused = http.post("/", params={"readonly": "0"}, content=read)
        assert refused.headers["X-ClickHouse-Exception-Code"] == "164"
    with pytest.raises(ClickHouseError, match="396"):
        _ = analyst.query("SELECT number FROM numbers(1100000)").result_rows


def test_settings_that_name_files_are_not_for_analysts(clickhouse: str, tmp_path: Path) -> None:
    url = urlsplit(clickhouse)
    secret = tmp_path / "secret"
    secret.write_text("secret")
    assert url.password is not None
    with httpx.Client(base_url=f"http://127.0.0.1:{url.port}", auth=("analyst", url.password[::-1])) as http:
        for name in ("format_template_resultset", "format_template_row", "format_schema", "output_format_schema"):
            answer = http.post("/", params={name: str(secret)}, content="SELECT 1 FORMAT Template")
            assert answer.headers["X-ClickHouse-Exception-Code"] == "164", name
            assert "secret\n" not in answer.text
        for sql in ("SELECT 1 FORMAT JSON", "SELECT 1 FORMAT CSV"):
            settings = {"output_format_json_quote_64bit_integers": "1", "session_timezone": "Europe/Paris"}
            assert http.post("/", params=settings, content=sql).status_code == 200


def test_every_function_that_asks_a_model_is_refused(client: Client) -> None:
    found = client.query("SELECT lower(name) FROM system.functions WHERE lower(name) LIKE 'ai%'").result_rows
    assert found
    assert {row[0] for row in found} <= REACHES_OUTSIDE


def test_every_table_function_is_known_or_refused(client: Client) -> None:
    """The list of harmless ones is a choice of names that exist: a misspelt one would be dead."""
    names = {row[0] for row in client.query("SELECT lower(name) FROM system.table_functions").result_rows}
    assert names >= HARMLESS_TABLE_FUNCTIONS


def test_a_body_over_the_limit(http: httpx.Client) -> None:
    bomb = gzip.compress(b"\n" * (MAX_BODY_BYTES + 1), 9)
    answer = http.post(
        "/?query=INSERT+INTO+server_test.t+FORMAT+CSV", content=bomb, headers={"Content-Encoding": "gzip"}
    )
    assert answer.status_code == 413
    broken = http.post("/?query=SELECT+1", content=b"nonsense", headers={"Content-Encoding": "zstd"})
    assert broken.headers["X-ClickHouse-Exception-Code"] == "354"


def test_reads_and_inserts_beside_a_long_query(clickhouse: str, client: Client, table: str) -> None:
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        began = time.monotonic()
        long = pool.submit(client.query, "SELECT sum(sipHash64(number)) FROM numbers(200000000)")
        time.sleep(0.2)
        done = 0
        while not long.done():
            client.insert(table, [[done, "x"]], column_names=["a", "b"])
            assert client.command(f"SELECT count() FROM {table} FINAL") == done + 1
            done += 1
        assert done >= 5, f"only {done} rounds in {time.monotonic() - began:.1f} s"


def test_a_query_ends_when_its_client_goes_away(http: httpx.Client, client: Client) -> None:
    sql = "SELECT sum(sipHash64(number)) FROM numbers(200000000000)"  # minutes
    running = "SELECT count() FROM system.processes WHERE query LIKE '%200000000000%' AND query NOT LIKE '%processes%'"
    with pytest.raises(httpx.ReadTimeout):
        http.post("/", content=sql, timeout=1.0)
    deadline = time.monotonic() + 10
    while client.command(running) != 0:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_ending_a_query_ends_no_other(http: httpx.Client) -> None:
    stop = threading.Event()

    def ask_and_leave() -> int:
        left = 0
        while not stop.is_set():
            try:
                # Some end at the same moment as their query.
                http.post("/", content="SELECT sleepEachRow(0.05)", timeout=random.uniform(0.02, 0.08))
            except httpx.TimeoutException:
                left += 1
        return left

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        leaving = [pool.submit(ask_and_leave) for _ in range(4)]
        try:
            for number in range(400):
                answer = http.post("/", content=f"SELECT {number}")
                assert answer.text == f"{number}\n"
        finally:
            stop.set()
        assert sum(one.result() for one in leaving) > 4


def _serve(data_dir: Path, port: int) -> "subprocess.Popen[bytes]":
    passwords = {f"AISLEFLOW_CLICKHOUSE_{user}_PASSWORD": user[0].lower() for user in ("WRITER", "READER", "ANALYST")}
    child = subprocess.Popen(
        [sys.executable, "-m", "infra.clickhouse.server", "--data-dir", str(data_dir), "--port", str(port)],
        env={**os.environ, **passwords},
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while not answers(port):
        assert child.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return child


def test_what_was_confirmed_survives_kill_9(tmp_path: Path) -> None:
    """An insert that was cut off may or may not be there: it is tried again, so rows are counted by value."""
    port, confirmed = free_port(), 0
    child = _serve(tmp_path, port)
    try:
        for round_ in range(3):
            client = clickhouse_connect.get_client(host="127.0.0.1", port=port, username="aisleflow", password="w")
            client.command("CREATE DATABASE IF NOT EXISTS kept")
            client.command("CREATE TABLE IF NOT EXISTS kept.t (a UInt64) ENGINE = MergeTree ORDER BY a")
            killer = threading.Timer(random.uniform(0.2, 1.0), child.kill)
            killer.start()
            with pytest.raises((ClickHouseError, OSError)):
                while True:
                    client.insert("kept.t", [[n] for n in range(confirmed, confirmed + 200)], column_names=["a"])
                    confirmed += 200
            killer.join()
            child.wait()
            child = _serve(tmp_path, port)
            again = clickhouse_connect.get_client(host="127.0.0.1", port=port, username="aisleflow", password="w")
            found = again.query("SELECT uniqExact(a) FROM kept.t WHERE a < {n:UInt64}", parameters={"n": confirmed})
            assert found.result_rows == [(confirmed,)], f"round {round_}"
    finally:
        child.terminate()
        began = time.monotonic()
        child.wait(10)
    assert time.monotonic() - began < 5


def test_one_server_a_data_directory_and_no_default_password(tmp_path: Path) -> None:
    child = _serve(tmp_path, free_port())
    command = [sys.executable, "-m", "infra.clickhouse.server", "--data-dir", str(tmp_path), "--port", str(free_port())]
    passwords = {f"AISLEFLOW_CLICKHOUSE_{user}_PASSWORD": user[0].lower() for user in ("WRITER", "READER", "ANALYST")}
    try:
        second = subprocess.run(command, env={**os.environ, **passwords}, capture_output=True, text=True, timeout=60)
        assert second.returncode != 0
        assert "another server already uses" in second.stderr
    finally:
        child.terminate()
        child.wait(10)
    without = subprocess.run(command, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, timeout=60)
    assert without.returncode != 0
    assert "no default password" in without.stderr


def test_a_small_result_tells_what_was_read_for_it(client: Client) -> None:
    client.command("CREATE TABLE read_of (a UInt64) ENGINE = MergeTree ORDER BY a SETTINGS index_granularity = 100")
    client.command("INSERT INTO read_of SELECT number FROM numbers(1000)")
    told = client.query("SELECT a FROM read_of WHERE a = 150").summary
    assert (told["read_rows"], told["read_bytes"]) == ("100", "800")
