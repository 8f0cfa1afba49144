"""The network: an LSTM over the last months of any product's sales, and quantiles of demand for each day ahead.

One set of weights for all series (a global model: Salinas et al., DeepAR, 2017, arXiv:1704.04110), quantiles of all days at once
instead of day after day (Wen et al., A Multi-Horizon Quantile Recurrent Forecaster, 2017, arXiv:1711.11053), trained on the
pinball loss (Koenker & Bassett, 1978). Small enough to learn on a CPU in minutes. Needs the extra ``training``; what is
learnt is served by ``forecasting.served`` without it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from forecasting.features import AHEAD, FARTHEST, PAST, WHOLE, FeatureSettings, Prepared, Sample, sample, stacked
from forecasting.series import QUANTILES, Forecast, Series
from forecasting.served import FEATURES, NAME, ONNX, WEIGHTS, Inputs, answers

#: A series teaches from this many known days on.
LEAST_HISTORY = 28
#: Logarithm of the most that it says, in multiples of a series' scale.
_MOST = math.log1p(2 * FARTHEST)
#: The mean of a distribution from its quantiles: each stands for what is nearer to it than to the next.
_SHARES = np.diff(np.concatenate([[0.0], (np.array(QUANTILES[1:]) + np.array(QUANTILES[:-1])) / 2, [1.0]])).astype(
    np.float32
)
#: So a mean of nothing but zeros can be more than zero.
_LITTLE = 0.02
_FARTHEST_OFF = 4.0
#: Share of moments that it is not told the category of, so that it can do without.
_NAMELESS = 0.2


class TrainingSettings(BaseModel):
    """How the network is made and taught. The same settings, series and machine give the same weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    features: FeatureSettings = FeatureSettings()
    hidden: int = Field(48, ge=4, description="Width of the LSTM and of the layers after it.")
    steps: int = Field(1_000, ge=1, description="Batches that it learns from.")
    batch: int = Field(128, ge=1, description="Moments of series in a batch.")
    learning_rate: float = Field(
        2e-3, gt=0, description="Highest; it rises for a tenth of the steps and falls to nothing."
    )
    dropout: float = Field(0.1, ge=0, lt=1, description="Of what the LSTM tells the layers after it.")
    seed: int = 0


_DEFAULT = TrainingSettings()


class Net(nn.Module):
    """Inputs and outputs as ``forecasting.served.Run``: quantiles and means in multiples of the series' scale."""

    def __init__(self, settings: TrainingSettings) -> None:
        super().__init__()
        hidden = settings.hidden
        self.category = nn.Embedding(settings.features.categories, 4)
        self.lstm = nn.LSTM(len(PAST), hidden, batch_first=True)
        self.context = nn.Linear(hidden + len(WHOLE) + 4, hidden)
        self.day = nn.Linear(hidden + len(AHEAD), hidden)
        self.deep = nn.Linear(hidden, hidden)
        self.out = nn.Linear(hidden, len(QUANTILES) + 1)
        self.dropout = nn.Dropout(settings.dropout)
        nn.init.normal_(self.category.weight, std=0.1)
        nn.init.zeros_(self.out.weight)
        with torch.no_grad():  # from four times the noise between the outermost quantiles
            self.out.bias.copy_(torch.tensor([-2.0, *[0.0] * (len(QUANTILES) - 1), 0.0]))

    def logs(self, past: Tensor, ahead: Tensor, whole: Tensor, category: Tensor) -> tuple[Tensor, Tensor]:
        """Quantiles as log(1 + x), below 0 too, and by how much the mean is off what they make."""
        _, (state, _) = self.lstm(past)
        context = torch.cat([state[-1], whole, self.category(category)], dim=-1)
        context = self.dropout(torch.relu(self.context(context)))
        context = context.unsqueeze(1).expand(-1, ahead.shape[1], -1)
        day = torch.relu(self.day(torch.cat([context, ahead], dim=-1)))
        day = day + torch.relu(self.deep(day))
        out = self.out(day)
        # From what is usual for the weekday; each quantile is at least the one before.
        off = torch.cat([out[:, :, :1], torch.nn.functional.softplus(out[:, :, 1:-1])], dim=-1)
        noise = whole[:, :1].unsqueeze(-1)
        return ahead[:, :, :1] + noise * torch.cumsum(off, dim=-1), noise[:, :, 0] * out[:, :, -1]

    def forward(self, past: Tensor, ahead: Tensor, whole: Tensor, category: Tensor) -> tuple[Tensor, Tensor]:
        """As ``forecasting.served.Run``."""
        logs, correction = self.logs(past, ahead, whole, category)
        quantiles = torch.expm1(logs.clamp(0.0, _MOST))
        return quantiles, mean(quantiles, correction)


def mean(quantiles: Tensor, correction: Tensor) -> Tensor:
    """The mean that the quantiles make, times what it was found to be off by (as a logarithm)."""
    return (quantiles @ torch.from_numpy(_SHARES) + _LITTLE) * torch.exp(
        correction.clamp(-_FARTHEST_OFF, _FARTHEST_OFF)
    )


class Network:
    """A trained network in PyTorch, as a ``Forecaster``."""

    name = NAME

    def __init__(self, settings: TrainingSettings, net: Net) -> None:
        self.settings, self.net = settings, net.eval()

    def forecast(self, series: Sequence[Series], horizon: int) -> list[Forecast]:
        """As ``forecasting.served.ServedNetwork.forecast``."""
        return answers(series, horizon, self.settings.features, self._run)

    def _run(self, inputs: Inputs) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        with torch.inference_mode():
            quantiles, mean = self.net(**{name: torch.from_numpy(np.asarray(value)) for name, value in inputs.items()})
        return quantiles.numpy(), mean.numpy()

    def files(self) -> dict[str, bytes]:
        """What the registry keeps of it: the graph for ONNX Runtime, the weights, the settings of its features."""
        from safetensors.torch import save

        return {
            ONNX: self.onnx(),
            WEIGHTS: save(self.net.state_dict(), {"settings": self.settings.model_dump_json()}),
            FEATURES: self.settings.features.model_dump_json(indent=2).encode(),
        }

    @classmethod
    def load(cls, weights: bytes) -> Network:
        """From the file ``WEIGHTS``, to go on with in PyTorch."""
        from safetensors.torch import load

        header = json.loads(weights[8 : 8 + int.from_bytes(weights[:8], "little")])
        settings = TrainingSettings.model_validate_json(header["__metadata__"]["settings"])
        net = Net(settings)
        net.load_state_dict(load(weights))
        return cls(settings, net)

    def onnx(self) -> bytes:
        """The network as ONNX, weights within, for any number of series, days of history and days ahead.

        Written out, because PyTorch's exporters either are deprecated or fix the number of series for an LSTM; a test holds
        its answers equal to PyTorch's.
        """
        import onnx.checker
        import onnx.parser
        from onnx.numpy_helper import from_array

        weights = {name: value.numpy() for name, value in self.net.state_dict().items()}
        bias = np.concatenate([_gates(weights[f"lstm.bias_{way}_l0"]) for way in ("ih", "hh")])
        constants: dict[str, npt.NDArray[np.generic]] = {
            "lstm_w": _gates(weights["lstm.weight_ih_l0"])[None],
            "lstm_r": _gates(weights["lstm.weight_hh_l0"])[None],
            "lstm_b": bias[None],
            "categories": weights["category.weight"],
            "hidden": np.array([self.settings.hidden]),
            "one_then_whole": np.array([1, len(WHOLE) - 1]),
            "one_then_rest": np.array([1, len(AHEAD) - 1]),
            "one_then_steps_then_mean": np.array([1, len(QUANTILES) - 1, 1]),
            "axis_0": np.array([0]),
            "axis_1": np.array([1]),
            "axis_2": np.array([2]),
            "last_axis": np.array(2),
            "one": np.array(1.0, np.float32),
            "none": np.array(0.0, np.float32),
            "little": np.array(_LITTLE, np.float32),
            "most": np.array(_MOST, np.float32),
            "least_off": np.array(-_FARTHEST_OFF, np.float32),
            "most_off": np.array(_FARTHEST_OFF, np.float32),
            "shares": _SHARES[:, None],
        }
        for layer in ("context", "day", "deep", "out"):
            constants[f"{layer}_w"] = np.ascontiguousarray(weights[f"{layer}.weight"].T)
            constants[f"{layer}_b"] = weights[f"{layer}.bias"]
        model = onnx.parser.parse_model(_GRAPH.replace("HIDDEN", str(self.settings.hidden)))
        model.graph.initializer.extend(from_array(np.asarray(value), name) for name, value in constants.items())
        onnx.checker.check_model(model, full_check=True)
        content: bytes = model.SerializeToString()
        return content


#: ``Net.forward`` in ONNX's own text form.
_GRAPH = f"""
<ir_version: 8, opset_import: ["" : 17]>
network (float[series, days, {len(PAST)}] past, float[series, horizon, {len(AHEAD)}] ahead,
         float[series, {len(WHOLE)}] whole, int64[series] category)
    => (float[series, horizon, {len(QUANTILES)}] quantiles, float[series, horizon] mean)
{{
    by_day = Transpose <perm = [1, 0, 2]> (past)
    every_state, last_state, last_cell = LSTM <hidden_size = HIDDEN> (by_day, lstm_w, lstm_r, lstm_b)
    state = Squeeze (last_state, axis_0)
    of_category = Gather (categories, category)
    told = Concat <axis = 1> (state, whole, of_category)
    context_in = MatMul (told, context_w)
    context_sum = Add (context_in, context_b)
    context = Relu (context_sum)
    context_row = Unsqueeze (context, axis_1)
    series_and_days = Shape <start = 0, end = 2> (ahead)
    context_shape = Concat <axis = 0> (series_and_days, hidden)
    contexts = Expand (context_row, context_shape)
    both = Concat <axis = 2> (contexts, ahead)
    day_in = MatMul (both, day_w)
    day_sum = Add (day_in, day_b)
    day = Relu (day_sum)
    deep_in = MatMul (day, deep_w)
    deep_sum = Add (deep_in, deep_b)
    deep = Relu (deep_sum)
    deeper = Add (day, deep)
    out_in = MatMul (deeper, out_w)
    out = Add (out_in, out_b)
    usual, rest = Split <axis = 2> (ahead, one_then_rest)
    first_out, steps_out, correction = Split <axis = 2> (out, one_then_steps_then_mean)
    steps = Softplus (steps_out)
    off = Concat <axis = 2> (first_out, steps)
    off_summed = CumSum (off, last_axis)
    noise, whole_rest = Split <axis = 1> (whole, one_then_whole)
    noise_column = Unsqueeze (noise, axis_2)
    off_noise = Mul (off_summed, noise_column)
    logs = Add (usual, off_noise)
    bounded = Clip (logs, none, most)
    raised = Exp (bounded)
    quantiles = Sub (raised, one)
    weighted = MatMul (quantiles, shares)
    weighted_more = Add (weighted, little)
    correction_noise = Mul (correction, noise_column)
    correction_bounded = Clip (correction_noise, least_off, most_off)
    factor = Exp (correction_bounded)
    mean_column = Mul (weighted_more, factor)
    mean = Squeeze (mean_column, axis_2)
}}
"""


def _gates(value: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """From PyTorch's order of an LSTM's gates (input, forget, cell, output) to ONNX's (input, output, forget, cell)."""
    into, forget, cell, out = np.split(value, 4)
    return np.concatenate([into, out, forget, cell])


def train(series: Sequence[Series], settings: TrainingSettings = _DEFAULT) -> Network:
    """A network that learnt from all of these series.

    Batches are moments of the series drawn at random; the weights are averaged over the steps towards the end (Polyak).

    Raises:
        ValueError: no series has ``LEAST_HISTORY`` known days before its last one.
    """
    features = settings.features
    prepared = [Prepared(one, features.horizon) for one in series]
    origins = [_origins(one) for one in series]
    teaching = [number for number, moments in enumerate(origins) if moments.size]
    if not teaching:
        raise ValueError(
            f"no series has {LEAST_HISTORY} known days and a day after them: there is nothing to learn from"
        )
    random = np.random.default_rng(settings.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        net = Net(settings)
        averaged = torch.optim.swa_utils.AveragedModel(
            net, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(1 - 1 / max(2.0, 0.05 * settings.steps))
        )
        optimizer = torch.optim.AdamW(net.parameters(), lr=settings.learning_rate, weight_decay=1e-3)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, settings.learning_rate, total_steps=settings.steps, pct_start=0.1
        )
        for _ in range(settings.steps):
            # Most decisions are about the next weeks: the far days are learnt in every third batch.
            horizon = min(features.horizon, 28) if random.random() < 2 / 3 else features.horizon
            samples, sales = _batch(prepared, origins, teaching, random, horizon, settings)
            loss = _loss(
                net, {name: torch.from_numpy(np.asarray(value)) for name, value in stacked(samples).items()}, sales
            )
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            averaged.update_parameters(net)
    net.load_state_dict(averaged.module.state_dict())
    return Network(settings, net)


def _origins(series: Series) -> npt.NDArray[np.int64]:
    """Where a series may be cut: enough is known before, and something after."""
    known = np.isfinite(series.quantity)
    before = np.cumsum(known)
    last = int(np.flatnonzero(known)[-1]) if known.any() else 0
    cuts = np.arange(1, len(known))
    return cuts[(before[cuts - 1] >= LEAST_HISTORY) & (cuts <= last)]


def _batch(
    prepared: Sequence[Prepared],
    origins: Sequence[npt.NDArray[np.int64]],
    teaching: Sequence[int],
    random: np.random.Generator,
    horizon: int,
    settings: TrainingSettings,
) -> tuple[list[Sample], Tensor]:
    """Moments drawn at random, and what was sold in the days after each in multiples of its scale (NaN if not known)."""
    samples, sales = [], np.full((settings.batch, horizon), np.nan, np.float32)
    for row, number in enumerate(random.choice(teaching, settings.batch)):
        origin = int(random.choice(origins[number]))
        one = sample(prepared[number], origin, horizon, settings.features)
        if random.random() < _NAMELESS:
            one = one._replace(category=0)
        after = prepared[number].series.quantity[origin : origin + horizon] / one.scale
        sales[row, : len(after)] = np.minimum(after, FARTHEST)
        samples.append(one)
    return samples, torch.from_numpy(sales)


def _loss(net: Net, inputs: Mapping[str, Tensor], sales: Tensor) -> Tensor:
    """Pinball loss of the quantiles, on logarithms; and the Poisson likelihood of the mean, which is least at the mean
    whatever the distribution is (Gourieroux, Monfort, Trognon, 1984)."""
    logs, correction = net.logs(**inputs)
    known = torch.isfinite(sales)
    sold = torch.nan_to_num(sales)
    levels = torch.tensor(QUANTILES)
    error = torch.log1p(sold).unsqueeze(-1) - logs
    pinball = torch.maximum(levels * error, (levels - 1) * error).mean(dim=-1)
    average = mean(torch.expm1(logs.detach().clamp(0.0, _MOST)), correction)
    poisson = average - sold * torch.log(average)
    return ((pinball + 0.1 * poisson) * known).sum() / known.sum().clamp(min=1)
