"""The SQL of published forecasts. That of sales is ``forecasting.sales``."""

from __future__ import annotations

CATEGORY = "SELECT category FROM products FINAL WHERE sku = {sku:String}"
