"""Cleaning sales with pandas, as somebody who knows pandas would write it for this one kind of file.

It knows beforehand what ours finds out (encoding, delimiter, headers, that days come before months), and does the same work: text,
spellings, numbers in words and with signs and thousands, two forms of dates, identifiers, ranges, exact and near duplicates with the line
that stays, a list of what was not taken, and the output.
"""

from __future__ import annotations

import sys

import pandas as pd

NAMES = ["transaction_id", "sku", "name", "quantity", "sold_at", "unit_price", "customer_id", "country"]
WORDS = {"one": 1, "two": 2, "three": 3, "four": 4, "six": 6, "eight": 8, "ten": 10, "a dozen": 12, "twenty-four": 24}
WORDS |= {"thirty six": 36, "forty-eight": 48, "one hundred": 100, "two hundred": 200}
MISSING = {
    "",
    "nan",
    "n/a",
    "#n/a",
    "null",
    "none",
    "nil",
    "-",
    "--",
    "?",
    "<na>",
    "#ref!",
    "#value!",
    "#div/0!",
    "(blank)",
}


def text(column: pd.Series) -> pd.Series:
    """Trimmed, single blanks, nothing where a word says missing."""
    found = column.str.replace(r"\s+", " ", regex=True).str.strip()
    return found.mask(found.str.lower().isin(MISSING))


def spelled(column: pd.Series) -> pd.Series:
    """The most frequent spelling of those that differ in case, then the first by code points."""
    counts = column.value_counts().rename_axis("text").reset_index(name="n")
    counts["folded"] = counts["text"].str.lower()
    counts = counts.sort_values(["n", "text"], ascending=[False, True], kind="stable")
    chosen = counts.drop_duplicates("folded").set_index("folded")["text"]
    return column.str.lower().map(chosen)


def numbers(column: pd.Series) -> pd.Series:
    """Numbers of which some have a currency sign, thousands or words."""
    plain = pd.to_numeric(column, errors="coerce")
    odd = column[plain.isna() & column.notna()]
    cleaned = odd.str.strip().str.replace(r"^[£€$]", "", regex=True).str.replace(r",(?=\d{3})", "", regex=True)
    read = pd.to_numeric(cleaned, errors="coerce").fillna(cleaned.str.lower().map(WORDS))
    return plain.fillna(read)


def moments(column: pd.Series) -> pd.Series:
    """UTC times of two forms."""
    found = pd.to_datetime(column, format="%Y-%m-%d %H:%M:%S", errors="coerce", utc=True)
    odd = column[found.isna()]
    return found.fillna(pd.to_datetime(odd, format="%d/%m/%Y %H:%M:%S", errors="coerce", utc=True))


def main(source: str, out: str, rejects: str, today: str) -> None:
    """Clean one file."""
    raw = pd.read_csv(source, dtype="str", keep_default_na=False)
    raw.columns = pd.Index(NAMES)
    lines = pd.Series(range(2, len(raw) + 2), index=raw.index)
    rows = pd.DataFrame(index=raw.index)
    for name in ("transaction_id", "sku"):
        rows[name] = text(raw[name])
    rows["name"] = spelled(text(raw["name"]))
    rows["quantity"] = numbers(raw["quantity"])
    rows["sold_at"] = moments(raw["sold_at"])
    rows["unit_price"] = numbers(raw["unit_price"])
    rows["currency"] = pd.Series("GBP", index=raw.index, dtype="str").where(raw["unit_price"].str.startswith("£"))
    rows["customer_id"] = text(raw["customer_id"]).str.replace(r"^(\d+)\.0$", r"\1", regex=True)
    rows["country"] = spelled(text(raw["country"]))
    rows["quantity"] = rows["quantity"].where(rows["quantity"].between(-100_000_000, 100_000_000))
    rows["unit_price"] = rows["unit_price"].where(rows["unit_price"].between(-1_000_000, 1_000_000))
    latest = pd.Timestamp(today, tz="UTC") + pd.Timedelta(days=2)
    rows["sold_at"] = rows["sold_at"].where(
        rows["sold_at"].between(pd.Timestamp("1980-01-01", tz="UTC"), latest, inclusive="left")
    )
    listed = []
    for name in NAMES:
        empty = rows[name].isna() & (raw[name] != "")
        listed.append(
            pd.DataFrame(
                {"line": lines[empty], "column": name, "what": "cell emptied", "original": raw.loc[empty, name]}
            )
        )
    doubtful = rows["unit_price"] <= 0
    listed.append(
        pd.DataFrame(
            {
                "line": lines[doubtful],
                "column": "unit_price",
                "what": "look at it",
                "original": raw.loc[doubtful, "unit_price"],
            }
        )
    )
    named = rows["sku"].notna() | rows["name"].notna()
    listed.append(pd.DataFrame({"line": lines[~named], "what": "row refused"}))
    rows = rows[named]
    same = rows.duplicated()
    listed.append(pd.DataFrame({"line": lines[same[same].index], "what": "duplicate removed", "reason": "exact"}))
    rows = rows[~same]
    near = near_duplicates(rows, lines)
    listed.append(near)
    rows = rows.drop(index=near.index)
    rows["sold_at"] = rows["sold_at"].dt.strftime("%Y-%m-%dT%H:%M:%SZ")
    rows.to_csv(out, index=False)
    pd.concat(listed).sort_values("line", kind="stable").to_csv(rejects, index=False)


def near_duplicates(rows: pd.DataFrame, lines: pd.Series) -> pd.DataFrame:
    """Rows of a receipt and product that say nothing against the fullest of them."""
    key = ["transaction_id", "sku"]
    again = rows[rows.duplicated(key, keep=False)].copy()
    again["filled"] = again.notna().sum(axis=1)
    again["at"] = again.index
    best = again.sort_values(["filled", "at"], ascending=[False, True], kind="stable").drop_duplicates(key)
    pairs = again.merge(best, on=key, suffixes=("", "_best"))
    pairs = pairs[pairs["at"] != pairs["at_best"]]
    agree = pd.Series(True, index=pairs.index)
    for name in rows.columns:
        if name not in key:
            one, two = pairs[name], pairs[f"{name}_best"]
            if name == "name":
                one, two = folded(one), folded(two)
            if name in ("quantity", "sold_at", "unit_price"):
                agree &= (one == two) | (one.isna() & two.isna())
            else:
                agree &= (one == two) | one.isna() | two.isna()
    gone = pairs[agree]
    return pd.DataFrame(
        {
            "line": lines[gone["at"]].to_numpy(),
            "what": "duplicate removed",
            "reason": "near",
            "stays": lines[gone["at_best"]].to_numpy(),
        },
        index=pd.Index(gone["at"]),
    )


def folded(column: pd.Series) -> pd.Series:
    """Names without case, accents, punctuation and the order of their words."""
    plain = column.str.normalize("NFKD").str.replace(r"[\u0300-\u036f]", "", regex=True).str.lower()
    words = plain.str.replace(r"[^a-z0-9]+", " ", regex=True).str.strip()
    return words.str.split(" ").map(lambda found: " ".join(sorted(found)), na_action="ignore")


if __name__ == "__main__":
    main(*sys.argv[1:5])
