"""Numbers of stages as Prometheus reads them."""

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from appliance.domain.figures import SECONDS, Family, Histogram, Kind, Sample, merge, render


def family(name: str, **labels: str) -> Family:
    sample = Sample(labels=labels, value=1.5)
    return Family(name=name, kind=Kind.GAUGE, meaning="A test.", samples=(sample,))


@given(st.lists(st.tuples(st.floats(0, 1000), st.integers(1, 50)), max_size=50))
def test_histograms_count_what_was_observed(seen: list[tuple[float, int]]):
    """Bins are cumulative, the last holds all, and the sum is the sum."""
    histogram = Histogram()
    for seconds, times in seen:
        histogram.observe(seconds, times=times)
    told = Family(
        name="t_seconds",
        kind=Kind.HISTOGRAM,
        meaning="A test.",
        samples=(histogram.sample(worker="w"),),
    )
    [parsed] = text_string_to_metric_families(render([told]))
    bins = {
        float(one.labels["le"]): one.value for one in parsed.samples if one.name.endswith("_bucket")
    }
    for end in (*SECONDS, float("inf")):
        assert bins[end] == sum(times for seconds, times in seen if seconds <= end)
    total = {one.name: one.value for one in parsed.samples if not one.name.endswith("_bucket")}
    assert total["t_seconds_count"] == sum(times for _, times in seen)
    assert abs(total["t_seconds_sum"] - sum(s * t for s, t in seen)) < 1e-6 * (1 + len(seen))


@given(st.text(max_size=20))
def test_any_label_is_quoted(text: str):
    """Whatever a label holds, one line stays one line."""
    if "\r" in text or not text.isprintable():
        return
    [parsed] = text_string_to_metric_families(render([family("x", label=text)]))
    assert parsed.samples[0].labels["label"] == text


def test_families_of_several_processes_become_one():
    """A name is told once, with the samples of all; nothing told is nothing said."""
    joined = merge([family("a", w="1"), family("b"), family("a", w="2")])
    assert [one.name for one in joined] == ["a", "b"]
    assert [one.labels for one in joined[0].samples] == [{"w": "1"}, {"w": "2"}]
    assert render(()) == ""
