"""The page as a browser would parse it: what it says, what it escapes, what it may not load.

python -m pytest tests/metrics/dashboard/test_page.py
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import zipfile
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from plotly.offline import get_plotlyjs

from metrics.dashboard import figures
from metrics.dashboard.page import page
from tests.metrics.dashboard.test_figures import frame, hour, row, scores
from tests.metrics.dashboard.test_surges import hours

ROOT = Path(__file__).parents[3]
GENERATED = datetime(2026, 4, 3, 2, 5, tzinfo=UTC)
NASTY = "</script><script>alert(1)</script>"


class Document(HTMLParser):
    """Text, elements and scripts of a page, as an HTML parser sees them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.words: list[str] = []
        self.feed(html)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        tag = self.elements[-1][0] if self.elements else ""
        if self.cdata_elem == "script":
            self.scripts[-1] += data
        elif tag != "style" or self.cdata_elem is None:
            self.words.append(data)

    def figures(self) -> list[dict[str, Any]]:
        return [json.loads(s) for s in self.scripts if s.startswith("{")]


def traffic(model: str = "bot", version: str = "7", endpoint: str = "chat") -> pd.DataFrame:
    """Version 6, then the given one, with a row of everything that is drawn."""
    metrics = frame(
        *scores("6", 30, 8, 0.02),
        *scores(version, 1234.5, -0.5, 0.01),
        row("requests", 1.0, version="6", count=1200),
        row("requests", 1.0, version=version, count=34, at="2026-04-02"),
        row("error_rate", 0.25, version="6", count=1200),
        hour(0, 0.1),
        row("output_tokens", 50.0, version=version, granularity="1 hour"),
        row("response_flesch_kincaid", 5.0, version=version, granularity="1 minute", at="2026-04-03 00:03"),
    )
    return metrics.assign(model_name=model, endpoint_name=endpoint)


def ledger(*, read: int = 1250) -> pd.DataFrame:
    columns = {"rows_scored": 600, "rows_quarantined": 10, "rows_duplicate": 5, "rows_skipped": 2}
    return pd.DataFrame([{"rows_read": read - 617, **columns}, {"rows_read": 617, **columns}])


def document(metrics: pd.DataFrame, batches: pd.DataFrame | None = None, **other: Any) -> Document:
    return Document(page(metrics, ledger() if batches is None else batches, **{"generated_at": GENERATED, **other}))


def test_head_of_the_page() -> None:
    text = document(traffic()).text
    assert "Version 7 against 6 : too few values to compare." in text
    assert "Model bot on endpoint chat ." in text
    assert "Newest window ends 3 Apr 2026, 00:04 UTC (1 minute windows)." in text
    assert "Page generated 3 Apr 2026, 02:05 UTC (2 hours later)." in text


def test_a_clock_without_a_zone_is_utc() -> None:
    assert (
        "Page generated 3 Apr 2026, 02:05 UTC (2 hours"
        in document(traffic(), generated_at=GENERATED.replace(tzinfo=None)).text
    )


@pytest.mark.parametrize(
    ("read", "expected"),
    [(1234, "4 skipped. Version"), (1250, "4 skipped. 16 rows are not accounted for.")],
)
def test_source_rows_add_up(read: int, expected: str) -> None:
    text = document(traffic(), ledger(read=read)).text.replace("By version", "Version")
    assert f"Source rows read: {read:,} = 1,200 scored + 20 quarantined + 10 duplicate + {expected}" in text


def test_ratings_are_a_part_of_what_is_skipped() -> None:
    assert "4 skipped (3 of them ratings)." in document(traffic(), ledger().assign(rows_feedback=[3, None])).text


def test_the_most_frequent_unknown_shape_is_named() -> None:
    shape = ("unknown_response_shape", '{"<b>":string}', 1234)
    text = document(traffic(), unknown_shape=shape).text
    assert 'most often 1,234 rows (unknown response shape) {"<b>":string} .' in text
    assert "Not understood" not in document(traffic()).text


def test_summary_table() -> None:
    text = document(traffic()).text
    assert "7 latest 1–2 Apr 2026 34 1,234.50 −0.50 0.0100 – – – – –" in text
    assert "6 old 1 Apr 2026 1,200 30.00 8.00 0.0200 – – – 300 25.00 %" in text
    assert text.index("7 latest") < text.index("6 old")


def judged(**after: float) -> pd.DataFrame:
    """Both versions with 100 values of each measure that is compared; ``after`` changes means of version 7."""
    means = {
        "response_perplexity": 50.0,
        "response_flesch_kincaid": 12.0,
        "response_toxicity": 0.1,
        "error_rate": 0.02,
        "execution_duration_ms": 900.0,
        "output_tokens": 200.0,
    }
    both = [row(column, mean, version="6", count=100, spread=mean / 10) for column, mean in means.items()]
    new = [row(column, mean, count=100, spread=mean / 10) for column, mean in (means | after).items()]
    return frame(*both, *new)


def test_the_page_opens_with_what_changed() -> None:
    text = document(judged(response_perplexity=10.0, response_toxicity=0.05)).text
    said = text[text.index("Version 7 against 6") :]
    assert said.startswith(
        "Version 7 against 6 : better on 2 of 6 measures, worse on none. "
        "Better: perplexity 50.0 → 10.0 (−80 %), response toxicity 0.100 → 0.050 (−50 %). "
        "About the same: reading grade 12.0 → 12.0, error rate 2.00 % → 2.00 %, "
    )
    assert text.index("Version 7 against 6") < text.index("Newest window") < text.index("Source rows read")
    worse = document(judged(error_rate=0.2, output_tokens=150.0)).text
    assert "Version 7 against 6 : mixed: better on 1 and worse on 1 of 6 measures." in worse
    assert "Failures stand out" not in text
    assert "In the comparison at the top, a measure is better or worse if" in text
    assert "whole history of both versions and is a reading aid" in text


def test_the_sentences_and_the_table_are_the_metrics() -> None:
    """Recomputed from the frame in a few lines of their own: two days a version, logged at different fractions."""
    rng = np.random.default_rng(7)
    units = {
        "response_perplexity": (50.0, 1, ""),
        "response_flesch_kincaid": (12.0, 1, ""),
        "response_toxicity": (0.1, 3, ""),
        "error_rate": (2.0, 2, " %"),
        "execution_duration_ms": (1900.0, 0, " ms"),
        "output_tokens": (200.0, 0, ""),
    }
    rows, of = [], {}
    for version in "67":
        for column, (scale, _, unit) in units.items():
            parts = []
            for day, fraction in ((1, 1.0), (2, 0.25)):
                x, w = rng.gamma(4.0, scale / 4, 60) / (100 if unit == " %" else 1), 1 / fraction
                sums = {"weighted_count": 60 * w, "weighted_avg": x.mean(), "sum_wx": w * x.sum(), "sum_w2": 60 * w * w}
                sums |= {"sum_w2x": w * w * x.sum(), "sum_w2x2": w * w * (x**2).sum()}
                rows.append(row(column, x.mean(), version=version, at=f"2026-04-0{day}", count=60, **sums))
                parts.append((x, np.full(60, w)))
            values, weights = (np.concatenate(part) for part in zip(*parts, strict=True))
            of[version, column] = np.average(values, weights=weights)
            rows.append(row("requests", 1.0, version=version, count=120))
    text = document(frame(*rows)).text
    for column, (_, digits, unit) in units.items():
        shown = [f"{(100 if unit == ' %' else 1) * of[v, column]:,.{digits}f}{unit}" for v in "67"]
        assert " → ".join(shown) in text, column
    for version, place in (("7", "7 latest"), ("6", "6 old")):
        line = text[text.index(place) :][:90]
        for column, digits in (("response_perplexity", 2), ("response_flesch_kincaid", 2), ("response_toxicity", 4)):
            assert f" {of[version, column]:.{digits}f} " in line, column
        assert f"{100 * of[version, 'error_rate']:.2f} %" in text[text.index(place) :]


@pytest.mark.parametrize(
    ("column", "granularity", "value"),
    [
        *[
            (column, "1 day", "sum_wx")
            for column in (
                "response_perplexity",
                "response_flesch_kincaid",
                "response_toxicity",
                "error_rate",
                "execution_duration_ms",
                "output_tokens",
            )
        ],
        ("response_perplexity", "1 day", "sum_w2x2"),
        ("response_perplexity", "1 day", "weighted_count"),
        ("prompt_toxicity", "1 day", "sum_wx"),
        ("requests", "1 day", "sum"),
        ("input_tokens", "1 day", "sum"),
        ("output_tokens", "1 day", "sum"),
        ("error_rate", "1 day", "sum"),
        ("error_rate", "1 hour", "sum"),
        ("error_rate", "1 hour", "count"),
    ],
)
def test_a_value_of_the_metrics_changes_the_words(
    column: str, granularity: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metrics.dashboard.page.get_plotlyjs", str)  # four megabytes less to parse
    metrics = pd.concat(
        [
            judged(response_perplexity=45.0),
            frame(*[row(name, 5.0, count=100) for name in ("requests", "input_tokens", "prompt_toxicity")]),
            frame(*hours(*[(0, 20)] * 30, (9, 20))),
        ],
        ignore_index=True,
    )
    one = (metrics["column_name"] == column) & (metrics["granularity"] == granularity)
    one &= metrics["model_version"] == "7"
    if granularity == "1 hour":
        one &= metrics["sum"] > 0
    assert one.sum() == 1
    changed = metrics.astype({value: float})
    changed.loc[one, value] *= 3
    assert document(changed).text != document(metrics).text


def test_failures_that_stand_out_are_said_and_marked() -> None:
    quiet = [(0, 20)] * 30
    found = document(pd.concat([judged(), frame(*hours(*quiet, (9, 20), *quiet))]))
    assert (
        "Failures stand out on 21 Apr 2026, 14:00–15:00 UTC: 9 of 20 requests of version 7 failed (usual: 0.00 %)."
        in found.text
    )
    assert "about the same on all 6 measures; failures of version 7 stand out." in found.text
    assert found.figures()[4]["data"][-1]["name"] == "Failures stand out: 1 hour"
    old = document(pd.concat([judged(), frame(*hours(*quiet, (9, 20), *quiet, version="6"))])).text
    assert "about the same on all 6 measures." in old, "the old version's failures say nothing of the new one"
    assert "9 of 20 requests of version 6 failed" in old
    both = [*hours(*quiet, (4, 9), *quiet, version="6"), *hours(*quiet, (8, 20), *quiet)]
    shared = document(pd.concat([judged(), frame(*both)])).text
    assert "about the same on all 6 measures." in shared, "what hits both versions is no fault of the new one"
    assert "8 of 20 requests of version 7 failed" in shared
    later = document(pd.concat([judged(), frame(*both, *hours((9, 20), start="2026-04-25 08:00"))])).text
    assert "about the same on all 6 measures; failures of version 7 stand out." in later


def test_toxic_prompts_that_stand_out_are_said_and_marked() -> None:
    toxic = hours(*[(0, 20)] * 30, (12, 24), column="prompt_toxic_rate", version="*")
    means = [one | {"column_name": "prompt_toxicity"} for one in toxic]
    found = document(pd.concat([judged(), frame(*toxic, *means)]))
    assert "Toxic prompts stand out on 21 Apr 2026, 14:00–15:00 UTC: 12 of 24 prompts (usual: 0.00 %)." in found.text
    assert "Failures stand out" not in found.text
    assert found.figures()[1]["data"][-1]["name"] == "Toxic prompts stand out: 1 hour"


def test_three_times_of_failures_are_enough() -> None:
    quiet, bad = [(0, 20)] * 10, [(9, 20)]
    text = document(pd.concat([judged(), frame(*hours(*(5 * [*quiet, *bad]), *quiet))])).text
    said = text[text.index("Failures stand out") : text.index("Newest window")]
    assert said.count("9 of 20 requests of version 7 failed") == 3
    assert "And 2 more." in said


def test_an_incident_across_midnight_names_both_days() -> None:
    late = hours(*[(0, 20)] * 13, (0, 20), (9, 20), (9, 20), (9, 20), start="2026-04-20 08:00")
    text = document(pd.concat([judged(), frame(*late)])).text
    assert "on 20 Apr 2026, 22:00–21 Apr 2026, 01:00 UTC: 27 of 60 requests" in text


def test_the_registry_stands_beside_the_versions() -> None:
    registry = pd.DataFrame(
        [
            {
                "model_name": "bot",
                "model_version": "6",
                "aliases": ["champion"],
                "run_name": "rag",
                "run_id": "0123456789",
            },
            {"model_name": "bot", "model_version": "7", "aliases": None, "run_name": None, "run_id": "abcdefghij"},
            {"model_name": "other", "model_version": "7", "aliases": ["wrong"], "run_name": "wrong", "run_id": "wrong"},
        ]
    )
    text = document(traffic(), model_versions=registry).text
    assert "6 old champion rag 01234567 1 Apr 2026" in text
    assert "7 latest abcdefgh 1–2 Apr 2026" in text
    assert "wrong" not in text
    assert " Run " not in document(traffic()).text
    assert " Run " not in document(traffic(), model_versions=registry[registry["model_name"] == "other"]).text
    assert " Run " not in document(traffic(), model_versions=registry.iloc[:0]).text


def test_what_the_registry_lacks_is_a_dash() -> None:
    names = {"model_name": "bot", "run_name": math.nan, "run_id": None}
    registry = pd.DataFrame(
        [
            {**names, "model_version": "6", "aliases": math.nan},
            {**names, "model_version": "7", "aliases": np.array(["prod", NASTY], dtype=object)},
        ]
    )
    found = document(traffic(), model_versions=registry)
    assert f"7 latest prod {NASTY} – 1–2 Apr 2026" in found.text
    assert "6 old – 1 Apr 2026" in found.text
    assert [a["class"] for tag, a in found.elements if tag == "span"].count("tag") == 2


def test_the_figures_reach_the_browser() -> None:
    drawn = document(traffic()).figures()
    assert [len(figure["data"]) for figure in drawn] == [2, 2, 1, 1, 0, 0, 2]
    assert [figure["data"][0]["type"] for figure in drawn[:4]] == ["pie", "scatter", "bar", "scatter"]
    assert drawn[2]["data"][0]["x"] == ["2026-04-01T00:00:00"]


def test_the_threshold_is_passed_on() -> None:
    assert "a prompt at or above 0.05 (dotted line)" in document(traffic(), threshold=0.05).text
    names = [trace.get("name", "") for trace in document(traffic(), threshold=0.05).figures()[1]["data"]]
    assert "A toxic prompt (≥ 0.05): 1 hour" in names


def test_names_are_escaped() -> None:
    plain, nasty = document(traffic()), document(traffic(model=NASTY, version=NASTY, endpoint=f'"{NASTY}<img src=x>'))
    assert [tag for tag, _ in nasty.elements] == [tag for tag, _ in plain.elements]
    assert f"Version {NASTY} against 6" in nasty.text
    assert f'Model {NASTY} on endpoint "{NASTY}<img src=x> .' in nasty.text
    html = page(traffic(model=NASTY, version=NASTY), ledger(), generated_at=GENERATED)
    assert "alert(1)" in html
    assert NASTY not in html.replace(get_plotlyjs(), "")
    for script in nasty.scripts:
        if script.startswith("{"):
            assert not set("<>&") & set(script)


@pytest.mark.parametrize("versions", [("6", NASTY), ("5", "6", NASTY), (NASTY,)])
def test_names_are_escaped_in_every_sentence(versions: tuple[str, ...]) -> None:
    def failing(*names: str) -> pd.DataFrame:
        rows = [part for name in names for part in scores(name, 30, 8, 0.02)]
        return frame(*rows, *hours(*[(0, 20)] * 30, (9, 20), version=names[-1]))

    plain, nasty = document(failing(*versions[:-1], "7")), document(failing(*versions))
    assert [tag for tag, _ in nasty.elements] == [tag for tag, _ in plain.elements]
    assert f"9 of 20 requests of version {NASTY} failed" in nasty.text
    if len(versions) > 1:
        assert f"failures of version {NASTY} stand out." in nasty.text


def test_nothing_is_loaded() -> None:
    html = page(traffic(), ledger(), generated_at=GENERATED)
    assert html.count(get_plotlyjs()) == 1
    own = html.replace(get_plotlyjs(), "")
    for reach in ("//", "http:", "https:", "@import", "url(", "<link", "<iframe", "<img"):
        assert reach not in own
    loads = {"src", "href", "srcset", "action", "data", "poster", "background", "ping"}
    assert not [attributes for _, attributes in Document(html).elements if loads & set(attributes)]


def test_charts_cannot_be_sent_to_plotlys_cloud() -> None:
    script = document(traffic()).scripts[-1]
    assert "showSendToCloud: false" in script
    assert 'plotlyServerURL: ""' in script
    assert "sendChartToCloud" not in script


def policy(found: Document) -> dict[str, str]:
    [content] = [str(a["content"]) for tag, a in found.elements if tag == "meta" and "http-equiv" in a]
    return {name: value for name, _, value in (part.strip().partition(" ") for part in content.split(";"))}


def test_content_security_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = {
        "default-src": "'none'",
        "script-src": "'unsafe-inline'",
        "style-src": "'unsafe-inline'",
        "img-src": "data: blob:",
    }
    assert policy(document(traffic())) == expected
    monkeypatch.setattr(figures, "MAX_SVG_POINTS", 0)
    assert policy(document(traffic())) == expected | {"script-src": "'unsafe-inline' 'unsafe-eval'"}


@pytest.mark.parametrize("metrics", [pd.DataFrame(), traffic().iloc[:0]], ids=["no columns", "no rows"])
@pytest.mark.parametrize("batches", [pd.DataFrame(), ledger().iloc[:0]], ids=["no columns", "no rows"])
def test_empty_frames(metrics: pd.DataFrame, batches: pd.DataFrame) -> None:
    text = document(metrics, batches).text
    assert "No data yet" in text
    assert "No window yet. Page generated 3 Apr 2026, 02:05 UTC." in text
    assert "No source rows read yet." in text


def test_one_version_only() -> None:
    found = document(frame(*scores("7", 10, 6, 0.01)))
    assert (
        "Version 7 is the only one so far. Perplexity 10.0, reading grade 6.0, response toxicity 0.010. "
        "Model bot on endpoint chat ."
    ) in found.text
    assert "In the comparison" not in found.text
    assert [len(figure["data"]) for figure in found.figures()] == [3, 0, 0, 0, 0, 0, 1]


def test_models_are_not_mixed() -> None:
    found = document(pd.concat([traffic(), traffic(model="other", version="8")]))
    assert "Version 7 against 6 : too few values to compare." in found.text
    assert "Version 8 against 6 : too few values to compare." in found.text
    first, second = (
        found.text.index("Model bot on endpoint chat : Version 7"),
        found.text.index("Model other on endpoint"),
    )
    assert first < second < found.text.index("Newest window") < found.text.index("Source rows read")
    assert found.text.index("Source rows read") < found.text.index("bot on chat") < found.text.index("other on chat")
    assert len(found.figures()) == 14
    assert len({a["id"] for _, a in found.elements if "id" in a}) == 28


def test_slices_are_not_counted_twice() -> None:
    whole = traffic().assign(slice_key=None)
    sliced = pd.concat([whole, whole.assign(slice_key="language")])
    assert page(sliced, ledger(), generated_at=GENERATED) == page(whole, ledger(), generated_at=GENERATED)


def test_the_template_is_found_in_a_zipped_wheel(tmp_path: Path) -> None:
    wheel = tmp_path / "wheel.zip"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("metrics/__init__.py", "")
        for path in [*ROOT.glob("metrics/dashboard/*.*"), *ROOT.glob("schemas/*.py")]:
            archive.write(path, path.relative_to(ROOT))
    code = (
        f"import sys; sys.path.insert(0, {str(wheel)!r})\n"
        "import datetime, pandas, metrics.dashboard.page as p\n"
        "assert 'wheel.zip' in p.__file__, p.__file__\n"
        "print(p.page(pandas.DataFrame(), pandas.DataFrame(), generated_at=datetime.datetime(2026, 4, 3))[:15])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.returncode) == ("<!doctype html>", 0), done.stderr
