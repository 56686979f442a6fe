"""The report: what it says, that nothing gets out of its place in it, and that it needs nothing but itself."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from monai_semgan.__main__ import main
from monai_semgan.apps.report import build_report, mean_interval, read_evaluation
from monai_semgan.apps.report.charts import compact, curve_panel, strip_row
from monai_semgan.apps.report.comparison import others_of
from monai_semgan.apps.report.markdown import markdown_to_html
from monai_semgan.apps.report.markup import Markup, table, tag
from monai_semgan.apps.report.pictures import Pictures, Series
from monai_semgan.apps.report.results import last_case
from monai_semgan.apps.tracked_runs import find_run, open_stores, read_runs
from monai_semgan.visualize import overlay_sheet
from tests.tracked_store import DICE, TrackedStore, fill

pytestmark = pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning")

EMPTY = {"img", "meta", "path", "line", "rect", "wbr", "br"}


class Reader(HTMLParser):
    """Elements, attributes and text of a page; fails on a tag that is closed in the wrong place."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, name, attributes):
        self.elements.append((name, dict(attributes)))
        if name not in EMPTY:
            self.open.append(name)

    def handle_startendtag(self, name, attributes):
        assert name in EMPTY
        self.elements.append((name, dict(attributes)))

    def handle_endtag(self, name):
        assert self.open.pop() == name

    def handle_data(self, text):
        if not self.open or self.open[-1] != "style":
            self.words.append(text)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))

    def named(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for element, attributes in self.elements if element == name]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> tuple[TrackedStore, dict[str, str]]:
    made = TrackedStore(tmp_path_factory.mktemp("results"))
    return made, fill(made)


@pytest.fixture(scope="module")
def runs(store):
    return read_runs(open_stores([store[0].uri]))


@pytest.fixture(scope="module")
def pages(store, runs):
    made: dict[str, Reader] = {}

    def page(key: str) -> Reader:
        if key not in made:
            made[key] = Reader(build_report(find_run(runs, store[1][key]), runs))
        return made[key]

    return page


def test_the_page_needs_nothing_from_outside(pages):
    for key in ("main", "hostile", "running"):
        page = pages(key)
        assert not {name for name, _ in page.elements} & {"script", "link", "iframe", "object", "embed", "form", "base"}
        assert all((image["src"] or "").startswith("data:image/") for image in page.named("img"))
        for _, attributes in page.elements:
            assert not [name for name in attributes if name.startswith("on")]
            assert "url(" not in (attributes.get("style") or "")
        policy = next(m["content"] for m in page.named("meta") if m.get("http-equiv") == "Content-Security-Policy")
        assert "default-src 'none'" in policy
        assert "script-src" not in policy


def test_links_lead_to_the_sections_of_the_page_or_to_the_web(pages):
    page = pages("main")
    ids = {attributes["id"] for _, attributes in page.elements if attributes.get("id")}
    targets = [link["href"] or "" for link in page.named("a")]
    assert len([t for t in targets if t.startswith("#")]) >= 7
    assert all(t[1:] in ids if t.startswith("#") else t.startswith(("http://", "https://")) for t in targets)


def test_the_key_numbers_stand_on_top_with_their_intervals(pages):
    text = pages("main").text
    top = text[: text.index("All failures")]
    interval = mean_interval(DICE["mr_t2spir"], bounds=(0, 1))
    assert "0.930" in top
    assert f"{interval.low:.3f} to {interval.high:.3f}" in top
    assert "1 failed" in top
    assert "Weakest on MRI T2-SPIR" in top
    assert "case 2" in top
    assert "12 % too large" in top
    assert "not committed" in top


def test_failures_come_first_and_patients_worst_first(pages):
    text = pages("main").text
    worst = text[text.index("All failures") :]
    assert worst.index("0.120") < worst.index("0.750")
    table_ct = text[text.index("CT, worst first") :]
    assert table_ct.index("0.910") < table_ct.index("0.930") < table_ct.index("0.950")


def test_pictures_curves_and_data_are_there(pages):
    page = pages("main")
    for image in page.named("img"):
        contents = base64.b64decode((image["src"] or "").partition(",")[2])
        with Image.open(io.BytesIO(contents)) as picture:
            assert (str(picture.width), str(picture.height)) == (image["width"], image["height"])
    captions = page.text
    assert all(f"after {step} images" in captions for step in (100, 200, 300))
    assert "evaluation/broken.png (not a picture)" in captions
    for words in ("warmup/ image", "validation_ dice_ ct", "lr/ generator", "c0ffee" * 6, "5e" * 32, "phantom"):
        assert words in captions
    curves = [a for name, a in page.elements if name == "path" and a.get("class") == "mean"]
    assert len(curves) == 4
    assert any(a.get("class") == "broken" for name, a in page.elements if name == "path")


def test_the_model_card_of_the_bundle_is_there_with_its_warning(pages):
    text = pages("main").text
    card = text[text.index("Model card", text.index("What was trained on what")) :]
    assert "Research only" in card
    assert "not of this run" in card
    assert "semantic_gan.pt" in card


def test_other_runs_of_the_same_split_are_compared_patient_by_patient(store, runs, pages):
    ids = store[1]
    run = find_run(runs, ids["main"])
    assert {other.id for other, _ in others_of(run, runs)} == {ids["unet"], ids["cell"]}
    text = pages("main").text
    part = text[text.index("Other runs of the same data") :]
    assert "U-Net L8" in part
    assert "-0.030" in part  # CT, .93 and .96
    assert "+0.073" in part  # MRI, .573 and .5
    assert "still at it" not in part


def test_hostile_names_stay_text(pages, store, runs):
    page = pages("hostile")
    assert "<script>alert('x')</script>" in page.text
    assert "\u202e" not in page.text
    assert "\x07" not in page.text
    source = build_report(find_run(runs, store[1]["hostile"]), runs)
    assert "<script" not in source
    assert "onerror=alert(1)>" not in source
    assert "/etc" not in [a.get("href") for a in page.named("a")]


def test_a_run_without_evaluation_says_so(pages):
    assert "No evaluation yet: it is still running." in pages("running").text
    assert "No evaluation yet: its state is failed." in pages("failed").text
    assert "What was trained on what" in pages("running").text


def test_a_benchmark_lists_its_trainings(pages):
    text = pages("benchmark").text
    assert "A benchmark of several trainings" in text
    assert "No evaluation yet" not in text
    assert "0.930" in text[text.index("Trainings of this benchmark") :]


def test_the_command_writes_the_page(store, tmp_path, capsys, monkeypatch):
    made, ids = store
    out = tmp_path / "deeper" / "page.html"
    assert main(["report", "--tracking_uri", made.uri, "--run", ids["unet"][:8], "--out", str(out)]) == 0
    assert "written" in capsys.readouterr().out
    assert "U-Net L8" in Reader(out.read_text(encoding="utf-8")).text
    assert main(["report", "--tracking_uri", made.uri, "--run", ids["main"][:-1] + "g"]) == 2
    assert ids["main"] in capsys.readouterr().err
    assert main(["report", "--tracking_uri", made.uri, "--run", ids["unet"], "--out", str(tmp_path)]) == 2
    assert "page" not in capsys.readouterr().out


def test_means_alone_are_shown_without_intervals(store, runs):
    found = find_run(runs, store[1]["unet"])
    bare = SimpleNamespace(files={}, scores=found.scores)
    evaluation = read_evaluation(bare)
    assert evaluation
    assert evaluation.interval("ct", "network", "").mean == pytest.approx(0.96)
    assert evaluation.interval("ct", "network", "").low is None
    assert evaluation.failure_count("mr_t2spir", "network", "") == 1
    assert not read_evaluation(SimpleNamespace(files={}, scores={}))


def test_the_interval_of_a_mean():
    # s = .1, n = 4: .5 ± 3.182 * .1 / 2
    low, high = 0.5 - 0.1591, 0.5 + 0.1591
    values = 0.5 + 0.1 * np.array([-1, 1, -1, 1]) * np.sqrt(3 / 4)
    interval = mean_interval(values.tolist())
    assert (interval.mean, interval.low, interval.high) == pytest.approx((0.5, low, high), abs=1e-4)
    assert mean_interval([0.2, 0.99], bounds=(0, 1)).high == 1.0
    assert mean_interval([0.7]) == (mean_interval([0.7]).__class__)(0.7, None, None, 1, 0.7, 0.7)
    assert mean_interval([]).mean is None


def test_markup_escapes_everything_else():
    assert tag("p", "<b>", 'a"', title='"><i>') == '<p title="&quot;&gt;&lt;i&gt;">&lt;b&gt;a&quot;</p>'
    assert tag("p", tag("b", "&"), None, [1, "<"]) == "<p><b>&amp;</b>1&lt;</p>"
    assert isinstance(tag("p"), Markup)
    assert "remark" not in table(["a", "remark"], [("1", ""), ("2", "")])
    assert "remark" in table(["a", "remark"], [("1", ""), ("2", "x")])


def test_markdown_of_a_card():
    text = (
        "# A <b>\n\nsome `co<de` and **bold** [in](http://a.org/x) [out](javascript:alert) <https://b.org>\n\n"
        "| a | b |\n|---|---|\n| 1 | `2` |\n\n- one\n  more\n- two\n\n```bash\nrm <x>\n```\n<script>x</script>\n"
    )
    shown = markdown_to_html(text)
    assert "<h3>A &lt;b&gt;</h3>" in shown
    assert "<code>co&lt;de</code>" in shown
    assert '<a href="http://a.org/x">in</a>' in shown
    assert "javascript" not in shown
    assert "<td><code>2</code></td>" in shown
    assert "<li>one more</li><li>two</li>" in shown
    assert "rm &lt;x&gt;" in shown
    assert "<script" not in shown


def test_a_curve_is_thinned_without_losing_its_spike():
    points = [(step, 1.0) for step in range(5000)]
    points[2345] = (2345, 9.0)
    panel = curve_panel("loss", points)
    assert len(panel) < 15_000
    raw = re.search(r'<path d="([^"]*)" class="raw"', panel)
    assert raw
    heights = [float(pair.split()[1]) for pair in raw[1][1:].split("L")]
    assert min(heights) == 4.0
    assert max(heights) == 96.0
    assert "never a number" in curve_panel("loss", [(0, float("nan")), (1, float("inf"))])


def test_dots_stay_on_the_strip():
    row = strip_row("student", [(0.2, "a"), (0.9, "b")], 0.55, 0.3, 0.8, (0.5, 1.0))
    places = [float(x) for x in re.findall(r'cx="([\d.]+)%"', row)]
    assert places == [0.0, 80.0]


@pytest.mark.parametrize(("value", "text"), [(0, "0"), (10_400, "10.4k"), (0.00051, "0.00051"), (6600, "6.6k")])
def test_numbers_in_few_characters(value, text):
    assert compact(value) == text


def test_a_series_keeps_its_first_and_last_picture():
    series = Series("samples", {step: str(step) for step in range(0, 2000, 100)})
    chosen = [step for step, _ in series.spread(6)]
    assert (chosen[0], chosen[-1], len(chosen)) == (0, 1900, 6)
    assert Series("x", {5: "a"}).spread(6) == [(5, "a")]


def test_the_worst_case_is_cut_out_of_an_overlay_sheet(tmp_path: Path):
    volume = np.zeros((40, 40, 6), np.float32)
    mask = np.zeros((40, 40, 6), np.uint8)
    mask[10:30, 10:30] = 1
    volume[5:35, 5:35] = 1.0
    case = {"name": "a", "image": volume, "label": mask, "prediction": mask, "dice": 1.0}
    overlay_sheet(
        [case, case, case | {"image": volume * np.array([1, -1, 1, -1, 1, -1])}], tmp_path / "s.png", title="ct"
    )
    with Image.open(tmp_path / "s.png") as sheet:
        box = last_case(*sheet.size)
        assert box is not None
        assert box[2:] == sheet.size
        title = sheet.convert("L").crop((0, box[1], sheet.width // 3, box[1] + 24))
        assert (np.asarray(title) > 150).sum() > 50  # its heading is inside
    assert last_case(1000, 777) is None


def test_large_pictures_become_smaller_files(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (900, 2000, 3)).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).save(stream, "PNG")
    run = SimpleNamespace(files={"a/b.png": (None, 1)}, read=lambda path: stream.getvalue())
    pictures = Pictures(run)
    figure = pictures.figure("a/b.png", "<caption>", "alt")
    assert figure is not None
    assert "&lt;caption&gt;" in figure
    assert 'width="1600"' in figure
    assert len(figure) < len(stream.getvalue())
    assert pictures.named() == []
