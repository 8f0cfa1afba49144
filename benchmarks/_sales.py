"""Real sales by day, for measuring forecasts: M5, Favorita and Online Retail, read from the files that their publishers give.

The folder is a command's argument: the files are under licences of their own and are no part of this repository.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from forecasting.series import Series


def m5(folder: Path) -> list[Series]:
    """Units a day of products in Walmart's shops, with the week's price and the calendar's events; days before the first sale left out."""
    wide = pl.read_csv(folder / "m5_sample_sales_train_validation.csv")
    calendar = pl.read_csv(folder / "m5_calendar.csv", try_parse_dates=True)
    first = calendar["date"][0]
    names = dict(zip(calendar["date"], calendar["event_name_1"], strict=True))
    weeks = dict(zip(calendar["date"], calendar["wm_yr_wk"], strict=True))
    prices = pl.read_csv(folder / "m5_sample_sell_prices.tsv.gz", separator="\t")
    price = {
        (store, item, week): value
        for store, item, week, value in prices.select("store_id", "item_id", "wm_yr_wk", "sell_price").iter_rows()
    }
    days = [column for column in wide.columns if column.startswith("d_")]
    made = []
    for row in wide.iter_rows(named=True):
        quantity = np.array([row[day] for day in days], dtype=float)
        begin = int(np.flatnonzero(quantity)[0])
        span = [first + timedelta(days=begin + day) for day in range(len(calendar) - begin)]
        week_price = [price.get((row["store_id"], row["item_id"], weeks[day]), np.nan) for day in span]
        events = {day: names[day] for day in span if names[day]}
        made.append(
            Series(
                row["id"].removesuffix("_validation"),
                span[0],
                quantity[begin:],
                row["dept_id"],
                price=np.array(week_price) if np.isfinite(week_price).any() else None,
                holiday=np.array([float(day in events) for day in span]),
                holiday_names=events,
            )
        )
    return made


def favorita(folder: Path) -> list[Series]:
    """Tickets a day of each of Favorita's shops; the holidays are those of Ecuador, of the shop's state and of its city.

    A holiday that was moved counts on the day that it was moved to. A day without a row is one on which the shop was closed.
    """
    tickets = pl.read_csv(folder / "favorita_transactions.csv.gz", try_parse_dates=True)
    shops = {
        nbr: (city, state)
        for nbr, city, state in pl.read_csv(folder / "favorita_stores.csv.gz")
        .select("store_nbr", "city", "state")
        .iter_rows()
    }
    events = pl.read_csv(folder / "favorita_holidays_events.csv.gz", try_parse_dates=True).filter(
        ~pl.col("transferred") & (pl.col("type") != "Work Day")
    )
    last = tickets["date"].max()
    assert isinstance(last, date)
    made = []
    for (shop,), rows in sorted(tickets.group_by("store_nbr"), key=lambda group: group[0]):
        city, state = shops[shop]
        start = rows["date"].min()
        assert isinstance(start, date) and isinstance(shop, int)
        quantity = np.full((last - start).days + 1, np.nan)
        quantity[[(day - start).days for day in rows["date"]]] = rows["transactions"]
        here = events.filter(pl.col("locale_name").is_in(["Ecuador", city, state]))
        names = {
            day: what.removeprefix("Traslado ").removeprefix("Puente ")
            for day, what in here.select("date", "description").iter_rows()
            if day >= start
        }
        span = (start + timedelta(days=day) for day in range(len(quantity) + 90))
        made.append(
            Series(
                f"shop-{shop}",
                start,
                quantity,
                "shop",
                holiday=np.array([float(day in names) for day in span]),
                holiday_names=names,
            )
        )
    return made


def online_retail(folder: Path, top: int = 300) -> list[Series]:
    """Units a day of the ``top`` products of a British mail order house; it is closed on Saturdays and over Christmas.

    Cancelled invoices, corrections and what is no product (postage, fees) are left out. A product's history begins with its first
    sale. On a day on which nothing at all was sold the house was closed: demand is unknown.
    """
    lines = pl.read_csv(
        folder / "online_retail.csv.gz",
        schema_overrides={"InvoiceNo": pl.String, "StockCode": pl.String},
        encoding="utf8-lossy",
    )
    lines = lines.with_columns(pl.col("InvoiceDate").str.slice(0, 10).str.to_date().alias("day")).filter(
        ~pl.col("InvoiceNo").str.starts_with("C")
        & (pl.col("Quantity") > 0)
        & (pl.col("UnitPrice") > 0)
        & pl.col("StockCode").str.contains(r"^\d{5}")
    )
    open_days = set(lines["day"])
    first, last = min(open_days), max(open_days)
    daily = lines.group_by("StockCode", "day").agg(pl.col("Quantity").sum())
    best = (
        daily.group_by("StockCode")
        .agg(pl.col("Quantity").sum())
        .sort("Quantity", "StockCode", descending=[True, False])
        .head(top)["StockCode"]
    )
    made = []
    closed = np.array([first + timedelta(days=day) not in open_days for day in range((last - first).days + 1)])
    for code in sorted(best):
        rows = daily.filter(pl.col("StockCode") == code)
        quantity = np.where(closed, np.nan, 0.0)
        quantity[[(day - first).days for day in rows["day"]]] = rows["Quantity"]
        begin = int(np.flatnonzero(np.nan_to_num(quantity))[0])
        made.append(Series(code, first + timedelta(days=begin), quantity[begin:], "gifts"))
    return made


SETS = {"m5": m5, "favorita": favorita, "online-retail": online_retail}


def until(series: Series, day: date) -> Series:
    """The series as it was known on the evening of ``day``: what is known ahead (prices, holidays) stays."""
    return replace(series, quantity=series.quantity[: max((day - series.start).days + 1, 0)])
