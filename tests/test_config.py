"""Settings: one default each, precedence, and errors that name the dotted path."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import ImageFont
from pydantic import BaseModel, ValidationError

import rtsearch.config as config_module
from rtsearch.config import Settings, load_settings
from rtsearch.config.document import changed_settings, write_changed, write_document
from rtsearch.errors import ConfigError

TOP = Path(__file__).resolve().parents[1]


def fields() -> dict[str, object]:
    """Every setting by its dotted path, with its default."""
    return {
        f"{section}.{key}": value
        for section, values in Settings().model_dump(mode="json").items()
        for key, value in values.items()
    }


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("text", ["", "# nothing\n", "{}", "detect: {}\n"])
def test_nothing_given_is_the_defaults(tmp_path, text):
    assert load_settings() == Settings()
    assert load_settings(write(tmp_path / "c.yaml", text)) == Settings()


def test_defaults_are_those_that_were_promised():
    s = Settings()
    assert s.detect.overlap == "iou"
    assert (s.model.name, s.model.size) == ("yolo26n", 416)
    assert (s.detect.threshold, s.detect.max_overlap, s.detect.whole_image) == (0.3, 0.65, False)
    assert s.project.dim == 64
    assert (s.show.header_height, s.show.thumb_height, s.show.results) == (200, 76, 16)


def test_a_file_changes_defaults_and_overrides_change_the_file(tmp_path):
    file = write(tmp_path / "c.yaml", "detect:\n  threshold: 0.4\n  max_overlap: 0.6\nproject: {dim: 32}\n")
    settings = load_settings(file, ["detect.threshold=0.7", "show.results=9"])
    assert settings.detect.threshold == 0.7
    assert settings.detect.max_overlap == 0.6
    assert settings.project.dim == 32
    assert settings.show.results == 9
    assert settings.detect.nms_iou == Settings().detect.nms_iou


def test_the_last_override_counts():
    assert load_settings(None, ["detect.threshold=0.1", "detect.threshold=0.2"]).detect.threshold == 0.2


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("detect.whole_image=true", "detect.whole_image", True),
        ("detect.whole_image=no", "detect.whole_image", False),
        ("live.source=clip.mp4", "live.source", "clip.mp4"),
        ("live.source=http://a/b?c=d", "live.source", "http://a/b?c=d"),
        ("live.source='0'", "live.source", "0"),
        ("live.source=0", "live.source", "0"),
        ("live.camera_wh=[1280, 720]", "live.camera_wh", (1280, 720)),
        ("live.camera_wh=1280x720", "live.camera_wh", (1280, 720)),
        ("show.window_wh=1080, 1920", "show.window_wh", (1080, 1920)),
        ("show.window_wh=1080 1920", "show.window_wh", (1080, 1920)),
        ("show.window_wh=1080 X 1920", "show.window_wh", (1080, 1920)),
        ("detect.classes=person", "detect.classes", ("person",)),
        ("detect.classes=person, traffic light", "detect.classes", ("person", "traffic light")),
        ("detect.classes=[dog, 'a, b']", "detect.classes", ("dog", "a, b")),
        ("detect.classes=[]", "detect.classes", ()),
        (" project.method = pca", "project.method", "pca"),
        ("model.name=größe", "model.name", "größe"),
        ("model.name=8", "model.name", "8"),
        ("describe.embedder=", "describe.embedder", ""),
        ("search.folders=2019", "search.folders", ("2019",)),
        ("search.folders=2019-05-01", "search.folders", ("2019-05-01",)),
        ("search.folders=2019_05, 007", "search.folders", ("2019_05", "007")),
        ("search.classes=no", "search.classes", ("no",)),
        ("show.caption=007", "show.caption", "007"),
    ],
)
def test_values_of_overrides(override, path, value):
    section, key = path.split(".")
    assert getattr(getattr(load_settings(None, [override]), section), key) == value


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("", "expected section.key=value"),
        ("=1", "expected section.key=value"),
        ("detect", "--set detect: detect is a section of settings: detect.threshold, detect.overlap, "),
        ("detect=1", "detect is a section of settings: detect.threshold"),
        ("model=yolo26n", "model is a section of settings: model.name, model.size, model.threads"),
        ("threshold=1", "no setting threshold; did you mean detect.threshold?"),
        ("treshold=1", "no setting treshold; did you mean detect.threshold?"),
        ("show.threshold=1", "no setting show.threshold; did you mean detect.threshold?"),
        (".threshold=1", "did you mean detect.threshold?"),
        ("detect.=1", "detect is a section of settings: detect.threshold"),
        ("detect.colour=1", "no setting detect.colour; there are: detect.threshold, detect.overlap"),
        ("colour=1", "no setting colour; there are: model, detect"),
        ("detect.threshold.x=1", "no setting detect.threshold.x; did you mean detect.threshold?"),
        ("detect.threshold", "--set detect.threshold: no value; for example detect.threshold=0.3"),
        ("detect.threshold= ", "no value; for example detect.threshold=0.3"),
        ("live.camera_wh=", "no value; for example live.camera_wh=[640, 480]"),
        ("model.name", "no value; for example model.name=yolo26n"),
        ("project.method=", "project.method = '': input should be 'pca' or 'random'"),
        ("detect.threshold=[", "is not a value"),
        ("detekt.threshold=0.4", "no setting detekt.threshold; did you mean detect.threshold?"),
        ("detect.treshold=0.4", "no setting detect.treshold; did you mean detect.threshold?"),
        ("detect.threshold=1.5", "detect.threshold = 1.5: expected a number from 0 to 1"),
        ("detect.threshold=.nan", "detect.threshold = nan: expected a number from 0 to 1"),
        ("detect.threshold=much", "detect.threshold = 'much': expected a number from 0 to 1"),
        ("detect.threshold=0,4", "= '0,4': expected a number from 0 to 1; did you mean 0.4?"),
        ("detect.threshold=[1]", "detect.threshold = [1]: expected a number from 0 to 1"),
        ("detect.threshold=null", "detect.threshold = nothing: expected a number from 0 to 1"),
        ("search.recall=1", "search.recall = 1: expected a number from 0.5 to 0.999"),
        ("detect.max_objects=0", "detect.max_objects = 0: expected a whole number from 1 to 300"),
        ("detect.max_objects=2.5", "detect.max_objects = 2.5: expected a whole number from 1 to 300"),
        ("model.size=417", "= 417: expected a whole number from 64 to 1280, a multiple of 32"),
        ("analyze.commit_s=0", "analyze.commit_s = 0: expected a number above 0 and up to 3600"),
        ("detect.whole_image=much", "detect.whole_image = 'much': input should be a valid boolean"),
        ("live.source=!!bool foo", "'!!bool foo' is not a value"),
        ("live.source=[&a 1, *a]", "is not a value"),
        ("live.source=2020-13-45", "'2020-13-45' is not a value"),
        ("project.method=tsne", "project.method = 'tsne': input should be 'pca' or 'random'"),
        ("project.dim=1", "project.dim = 1"),
        ("project.dim=1001", "project.dim = 1001"),
        ("live.camera_wh=[640]", "live.camera_wh = [640]: expected width and height, such as 1280x720"),
        ("live.camera_wh=640", "live.camera_wh = '640': expected width and height"),
        ("live.camera_wh=[1, 2, 3]", "live.camera_wh = [1, 2, 3]: expected width and height"),
        ("live.camera_wh=x", "live.camera_wh = 'x': expected width and height"),
        ("live.camera_wh=(640,480)", "expected a whole number from 16 to 7680"),
        ("detect.classes=", "detect.classes"),
        ("detect.classes=dog,", "detect.classes.1"),
        ("detect.min_px=-1", "detect.min_px = -1"),
        ("live.camera_wh=[640, 1]", "live.camera_wh.1 = 1: expected a whole number from 16 to 4320"),
        ("show.window_wh=[319, 240]", "show.window_wh.0 = 319: expected a whole number from 320 to 7680"),
        ("show.results=101", "show.results = 101"),
    ],
)
def test_bad_overrides(override, message):
    with pytest.raises(ConfigError) as caught:
        load_settings(None, [override])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


BOMB = "a: &a [lol, lol]\n" + "".join(
    f"{b}: &{b} [*{a}, *{a}, *{a}]\n" for a, b in itertools.pairwise("abcdefghijk")
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "search:\n  folders: 2019\n",
            "search.folders = 2019: expected names; one that is a number or a date",
        ),
        (
            "show:\n  labels:\n",
            "show.labels = nothing: expected names; leave the line out for the default",
        ),
        (
            "search:\n  folders: [a, 2019-05-01]\n",
            "expected names; one that is a number or a date needs quotes",
        ),
        ("show:\n  logo: FILE.png\n", "show.logo = 'FILE.png': FILE.png: "),
        ("just a text", "expected sections such as 'detect:', got str"),
        ("- a\n- b\n", "expected sections such as 'detect:', got list"),
        ("detect: [1, 2]\n", "detect = [1, 2]"),
        ("detect:\n  threshold: 2\n", "detect.threshold = 2"),
        ("detect:\n  colour: red\n", "no setting detect.colour; there are: detect.threshold"),
        ("detect:\n  treshold: 1\n", "no setting detect.treshold; did you mean detect.threshold?"),
        ("detekt:\n  threshold: 1\n", "no setting detekt; did you mean detect?"),
        ("colour: red\n", "no setting colour; there are: model"),
        ("1: 2\n", "no setting 1"),
        ("detect: {threshold: 0.3\n", "c.yaml is not valid YAML, line 2: expected ',' or '}'"),
        ("detect:\n\tthreshold: 0.3\n", "is not valid YAML, line 2: found character '\\t' that cannot"),
        ("# Text\n\nTwo: lines\nof text\n\nA third.\n", "line 4: could not find expected ':'"),
        ("a: 1\nb: \0", "is not valid YAML, line 2: special characters are not allowed"),
        ("live:\n  source: 2020-13-45\n", "is not valid YAML: month must be in 1..12"),
        (
            "detect:\n  threshold: &a 0.3\n  max_overlap: *a\n",
            "YAML, line 3: settings have no aliases (*name)",
        ),
        (BOMB, "is not valid YAML, line 2: settings have no aliases (*name)"),
        ("detect: !!bool foo\n", "is not valid YAML, line 1: settings have no tags (!name)"),
        ('detect: !!int ""\n', "is not valid YAML, line 1: settings have no tags (!name)"),
        ("detect: !!timestamp x\n", "is not valid YAML, line 1: settings have no tags (!name)"),
        ("detect: " + "[" * 5000, "is not valid YAML: it is nested too deeply"),
        ("detect: " + "9" * 5000, "is not valid YAML: Exceeds the limit"),
        ("detect: 1" + ":1" * 999 + ".5", "is not valid YAML: int too large to convert"),
        ("#" * (1 << 20) + "#", "c.yaml: it has more than 1,048,576 bytes"),
        (
            "detect:\n  threshold: " + "x" * 99999,
            "detect.threshold = '" + "x" * 79 + "...: expected a number",
        ),
        ("detect: !!python/object/apply:os.system ['true']\n", "line 1: settings have no tags (!name)"),
        ("a: &a [*a]\n", "is not valid YAML, line 1: settings have no aliases (*name)"),
        (
            "detect.threshold: 0.4\n",
            "detect.threshold is written as a line 'detect:' and below it '  threshold",
        ),
    ],
)
def test_bad_files(tmp_path, text, message):
    with pytest.raises(ConfigError) as caught:
        load_settings(write(tmp_path / "c.yaml", text))
    assert message in str(caught.value)
    assert "c.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_fault_of_an_override_is_not_laid_on_the_file(tmp_path):
    path = write(tmp_path / "c.yaml", "show:\n  results: 500\n")
    with pytest.raises(ConfigError, match=r"^show\.results = 900"):
        load_settings(path, ["show.results=900"])


@pytest.mark.parametrize("path", [path for path, value in fields().items() if type(value) in (int, float)])
def test_every_number_says_its_limits(path):
    with pytest.raises(
        ConfigError, match=r"= 'x': expected a (whole )?number (from|above) [0-9.]+ .*to [0-9.]+"
    ):
        load_settings(None, [f"{path}=x"])


def test_an_override_cannot_hide_a_broken_section(tmp_path):
    with pytest.raises(ConfigError, match="detect = 5"):
        load_settings(write(tmp_path / "c.yaml", "detect: 5\n"), ["detect.threshold=0.5"])


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot read settings from .*missing\.yaml"):
        load_settings(tmp_path / "missing.yaml")
    with pytest.raises(ConfigError, match="cannot read settings"):
        load_settings(tmp_path)
    (tmp_path / "latin.yaml").write_bytes("live: {source: Stra\xdfe}".encode("latin-1"))
    with pytest.raises(ConfigError, match="cannot read settings"):
        load_settings(tmp_path / "latin.yaml")


def test_settings_are_frozen():
    with pytest.raises(ValidationError):
        Settings().detect.threshold = 0.5


@pytest.mark.parametrize("path", fields())
def test_every_setting_can_be_given_as_its_default(path):
    given_back = yaml.safe_dump(fields()[path], default_flow_style=True).removesuffix("...\n").strip()
    assert load_settings(None, [f"{path}={given_back}"]) == Settings()


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_share_is_between_0_and_1(value):
    text = yaml.safe_dump({"detect": {"threshold": value}})
    values = yaml.safe_load(text)
    if 0 <= value <= 1:
        assert Settings.model_validate(values).detect.threshold == value
    else:
        with pytest.raises(ConfigError, match=r"detect\.threshold"):
            load_settings(None, [f"detect.threshold={value!r}"])


# config.yaml and the docstrings ----------------------------------------------------------------------------


def test_config_yaml_holds_every_default_and_nothing_else():
    assert yaml.safe_load((TOP / "config.yaml").read_text(encoding="utf-8")) == Settings().model_dump(
        mode="json"
    )


def test_config_yaml_explains_every_setting_beside_it():
    section = ""
    explained = set()
    for line in (TOP / "config.yaml").read_text(encoding="utf-8").splitlines():
        code, _, comment = line.partition("#")
        key = code.partition(":")[0]
        if key and not key.startswith(" "):
            section = key
        elif key.strip() and comment.strip():
            explained.add(f"{section}.{key.strip()}")
    assert explained == set(fields())


def test_config_yaml_of_the_package_is_a_copy():
    packaged = (TOP / "rtsearch" / "config" / "config.yaml").read_bytes()
    assert packaged == (TOP / "config.yaml").read_bytes(), "run: cp config.yaml rtsearch/config/config.yaml"


def test_the_document_of_the_defaults_is_config_yaml():
    assert write_document(Settings()) == (TOP / "config.yaml").read_text(encoding="utf-8")


CHANGES = [
    ("detect.threshold=0.4", "  threshold: 0.4         # least confidence of an object; 0 to 1"),
    ("show.window_wh=1080x1920", "  window_wh: [1080, 1920] # size of the picture"),
    (
        "detect.classes=[dog, 'a #1 \"cup\"', größe]",
        '  classes: ["dog", "a #1 \\"cup\\"", "größe"] # find objects',
    ),
    ("live.source=rtsp://a:b@c/d", '  source: "rtsp://a:b@c/d" # source that `run` plays'),
    ("show.fill=false", "  fill: false            # show as many neighbours"),
]


@pytest.mark.parametrize(("override", "line"), CHANGES)
def test_the_document_of_other_settings(override, line):
    settings = load_settings(None, [override])
    text = write_document(settings)
    before = (TOP / "config.yaml").read_text(encoding="utf-8").splitlines()
    differ = [new for old, new in zip(before, text.splitlines(), strict=True) if old != new]
    assert len(differ) == 1
    assert differ[0].startswith(line)
    assert Settings.model_validate(yaml.safe_load(text)) == settings


def test_what_differs_from_the_defaults(tmp_path):
    assert changed_settings(Settings()) == {}
    assert write_changed(Settings()) == ""
    settings = load_settings(None, [override for override, _ in CHANGES] + ["model.name=yolo26n"])
    assert changed_settings(settings)["show"] == {"window_wh": [1080, 1920], "fill": False}
    assert "model" not in changed_settings(settings)
    text = write_changed(settings)
    assert text.startswith("detect:\n  threshold: 0.4  # default: 0.3\n")
    assert load_settings(write(tmp_path / "c.yaml", text)) == settings


def test_docstrings_explain_every_setting():
    for name in config_module.__all__:
        kind = getattr(config_module, name)
        if isinstance(kind, type) and issubclass(kind, BaseModel) and kind is not Settings:
            attributes = str(kind.__doc__).partition("Attributes:")[2]
            assert [k for k in kind.model_fields if f" {k}: " not in attributes] == []


# A font ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "no such file"),
        (b"", "not a font that can be read"),
        (b"no font\n", "not a font that can be read"),
    ],
)
def test_a_font_that_cannot_be_read(tmp_path, content, problem):
    file = tmp_path / "own.ttf"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"show\.font = ") as caught:
        load_settings(None, [f"show.font={file}"])
    assert f"{file}': {problem}" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["/", "a\\0b", "~f.ttf"])
def test_what_is_no_file_is_no_font(name):
    with pytest.raises(ConfigError, match=r"show\.font"):
        load_settings(None, [f'show.font="{name}"'])


def test_a_font_in_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    font: Any = ImageFont.load_default(16)
    (tmp_path / "own.ttf").write_bytes(font.font_bytes)
    assert load_settings(None, ["show.font=~/own.ttf"]).show.font == str(tmp_path / "own.ttf")
