"""What the server does, in Prometheus' words: gauges read from the engines when asked for, counters and histograms kept."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from ramify.api.model_pool import ModelPool

__all__ = ["Metrics"]

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
TOKEN_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)

GAUGES = {
    "ramify_completions_running": "Completions in the engine's running batch.",
    "ramify_completions_waiting": "Completions that were admitted and wait for a place in the batch.",
    "ramify_kv_cache_bytes": "Keys and values held, those remembered for later requests included.",
    "ramify_engine_up": "1 while the engine answers, 0 after it failed.",
}
COUNTERS = {
    "ramify_forward_passes": "Forward passes of the engine.",
    "ramify_computed_tokens": "Tokens that went through the model, prompts and completions.",
    "ramify_requests_refused": "Requests answered with 429.",
}


disable_created_metrics()  # type: ignore[no-untyped-call]  # a second line for every number that nobody reads


class Metrics:
    """The numbers of one server."""

    def __init__(self, models: "ModelPool") -> None:
        self.registry = CollectorRegistry()
        self.registry.register(_Engines(models))
        model = ("model",)
        self.prompt_tokens = Counter("ramify_prompt_tokens", "Tokens of prompts.", model, registry=self.registry)
        self.cached_tokens = Counter(
            "ramify_cached_prompt_tokens", "Tokens of prompts that were not computed again.", model, registry=self.registry
        )
        self.generated_tokens = Counter("ramify_generated_tokens", "Tokens generated.", model, registry=self.registry)
        self.completions = Counter(
            "ramify_completions", "Completions that ended, by how.", ("model", "finish_reason"), registry=self.registry
        )
        self.errors = Counter(
            "ramify_request_errors", "Requests that failed, by status.", ("model", "status"), registry=self.registry
        )
        self.first_token_s = Histogram(
            "ramify_time_to_first_token_seconds",
            "From a request's arrival to its first token.",
            model,
            buckets=SECONDS,
            registry=self.registry,
        )
        self.token_s = Histogram(
            "ramify_time_per_output_token_seconds",
            "Between a completion's tokens, in the mean of each completion.",
            model,
            buckets=TOKEN_SECONDS,
            registry=self.registry,
        )
        self.request_s = Histogram(
            "ramify_request_seconds", "From a request's arrival to its end.", model, buckets=SECONDS, registry=self.registry
        )

    def text(self) -> bytes:
        """All of it in the text format."""
        return generate_latest(self.registry)


class _Engines(Collector):
    """The state of the engines at the moment of the question, read without stopping them."""

    def __init__(self, models: "ModelPool") -> None:
        self._models = models

    def describe(self) -> Iterator[GaugeMetricFamily]:
        yield from ()

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        gauges = {name: GaugeMetricFamily(name, help, labels=["model"]) for name, help in GAUGES.items()}
        counters = {name: CounterMetricFamily(name, help, labels=["model"]) for name, help in COUNTERS.items()}
        loaded = self._models.loaded()
        for name, admission in self._models.admissions().items():
            values: dict[str, float] = {"ramify_requests_refused": admission.refused}
            running = inside = 0
            if name in loaded:
                engine = loaded[name].engine
                running = sum(task.width for task in tuple(engine.scheduler.running) if not task.done)
                inside = sum(task.width for task in tuple(engine.scheduler.waiting) if not task.done)
                values |= {
                    "ramify_kv_cache_bytes": engine.backend.size_bytes(),
                    "ramify_engine_up": 0 if self._models.failure(name) is not None else 1,
                    "ramify_forward_passes": engine.forward_passes,
                    "ramify_computed_tokens": engine.computed_tokens,
                }
            # What was let in and has not reached the engine, or has just left it, counts as waiting.
            on_the_way = max(0, admission.running - running - inside)
            values["ramify_completions_running"] = running
            values["ramify_completions_waiting"] = admission.waiting + inside + on_the_way
            for key, value in values.items():
                (gauges.get(key) or counters[key]).add_metric([name], value)
        yield from gauges.values()
        yield from counters.values()
