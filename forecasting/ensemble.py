"""One forecast of several: the average of their means and of their quantiles, quantile by quantile."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from forecasting.series import QUANTILES, Forecast


def averaged(parts: Sequence[Forecast]) -> Forecast:
    """The mean forecast of several for one series and the same days.

    Quantiles are averaged, not probabilities: the mixture stays as sharp as its parts (Lichtendahl, Grushka-Cockayne & Winkler 2013,
    "Is it better to average probabilities or quantiles?", Management Science 59). Raises ValueError without parts.
    """
    if not parts:
        raise ValueError("an average needs one forecast at least")
    first = parts[0]
    quantiles = {level: np.mean([part.quantiles[level] for part in parts], axis=0) for level in QUANTILES}
    name = "+".join(part.model for part in parts)
    warnings = tuple(dict.fromkeys(words for part in parts for words in part.warnings))
    return Forecast(
        first.key, first.start, np.mean([part.mean for part in parts], axis=0), quantiles, name, "", warnings
    )
