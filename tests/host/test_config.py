"""The job: file, variables and flags; every fault at once, each with its place."""

from __future__ import annotations

import datetime
import json
import tomllib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings, strategies as st

from penrose_host.config.difference import difference
from penrose_host.config.job import Job
from penrose_host.config.jobfile import parse_value, read_job_file, to_yaml
from penrose_host.config.layers import Flags
from penrose_host.config.loading import load_job
from penrose_host.errors import ConfigError

JOB = """\
name: test
datasource: {name: files, path: data.csv, nested: {a: 1}}
executor: {name: torch, model: logistic}
features:
  event_time: ts
  categorical: [a]
  labels: [y]
"""


def write(folder: Path, text: str | bytes, name: str = "job.yaml") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def job(folder: Path, extra: str = "", flags: Flags | None = None, **environ: str) -> Job:
    return load_job(write(folder, JOB + extra), flags, environ)


def faults(folder: Path, extra: str = "", flags: Flags | None = None, **environ: str) -> dict[str, str]:
    with pytest.raises(ConfigError) as raised:
        job(folder, extra, flags, **environ)
    return dict(raised.value.faults)


# -- files -----------------------------------------------------------------------------------------


def test_a_minimal_job_has_documented_defaults(tmp_path):
    loaded = job(tmp_path)

    assert (loaded.environment.name, loaded.embedding, loaded.hooks) == ("local", None, ())
    assert loaded.datasource.options == {"path": "data.csv", "nested": {"a": 1}}
    assert (loaded.order, loaded.micro_batch.rows, loaded.micro_batch.event_time) == ("event_time", 1024, None)
    assert (loaded.checkpoint.rows, loaded.checkpoint.seconds, loaded.checkpoint.keep) == (100_000, 60, 3)
    assert loaded.run_directory == Path("runs/test")
    assert all(field.description for field in Job.model_fields.values())


def test_yaml_and_toml_say_the_same(tmp_path):
    toml = """
    name = "test"
    executor = {name = "torch", model = "logistic"}
    until = {event_time = 2013-06-01T00:00:00Z}
    [datasource]
    name = "files"
    path = "data.csv"
    nested.a = 1
    [features]
    event_time = "ts"
    categorical = ["a"]
    labels = ["y"]
    """
    from_yaml = job(tmp_path, "until: {event_time: 2013-06-01T00:00:00Z}\n")
    assert load_job(write(tmp_path, toml, "job.toml"), None, {}) == from_yaml
    assert from_yaml.until.event_time == 1_370_044_800_000_000


def test_a_job_needs_no_file():
    flags = Flags(
        datasource="clickstream",
        executor="torch",
        options=("name=adhoc", "features={event_time: ts, labels: [y]}"),
        until="rows=10",
        run_dir="123",
    )
    loaded = load_job(None, flags, {})
    assert (loaded.name, loaded.until.rows, loaded.run_directory) == ("adhoc", 10, Path("123"))


def test_words_and_numbers_follow_yaml_1_2(tmp_path):
    text = (
        "a: no\nb: 1e-3\nc: 1:30\nd: 010\ne: 2013-01-01\nf: True\ng: ~\nh: 0x1F\ni: -.inf\nj: 1_000\nk: 0o17\nl: 'no'\n"
    )
    data, _ = read_job_file(write(tmp_path, text))
    assert data == {
        "a": "no", "b": 0.001, "c": "1:30", "d": 10, "e": "2013-01-01", "f": True,
        "g": None, "h": 31, "i": float("-inf"), "j": "1_000", "k": 15, "l": "no",
    }  # fmt: skip


def test_anchors_and_merges_work_and_own_keys_win(tmp_path):
    text = "base: &base {x: 1, y: 2}\nother:\n  <<: *base\n  y: 3\nlist:\n  <<: [{x: 5}, *base]\n"
    data, places = read_job_file(write(tmp_path, text))
    assert data["other"] == {"x": 1, "y": 3}
    assert data["list"] == {"x": 5, "y": 2}
    assert places["other.y"].endswith("job.yaml:4")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "is empty"),
        ("# nothing\n", "is empty"),
        ("- a\n- b\n", "no mapping"),
        ("just text", "no mapping"),
        (b"name: \xff\n", "not UTF-8"),
        ("a: [1, 2", "not valid YAML"),
        ("a: 1\n---\nb: 2\n", "not valid YAML"),
        ("a: *nowhere", "not valid YAML"),
        ("a: \x07", "not valid YAML"),
        ("a: !!python/object/apply:os.system [echo]\n", "the tag .*apply:os.system"),
        ("a: !!python/name:os.system x\n", "cannot be of type"),
        ("a: !!int x\n", "invalid literal"),
        ("a: !!timestamp 2013-01-01\n", "cannot be of type timestamp"),
        ("a: 1\nb: 2\na: 3\n", "a stands here a second time"),
        ("x: {a: 1, a: 3}\n", "x.a stands here a second time"),
        ("1: x\n", "quote it"),
        ("true: x\n", "quote it"),
        ("[a, b]: x\n", "quote it"),
        ("a: {<<: 3}\n", "`<<` takes a mapping"),
        ("a: &a [*a]\n", "not valid YAML|nested too deeply"),
        ("a: " + "[" * 3000 + "]" * 3000, "nested too deeply"),
        ("a: " + "9" * 5000, "digits"),
        (b"a: " + b"x" * (1 << 20), "longer than"),
    ],
)
def test_a_file_that_is_no_job_is_one_clear_error(tmp_path, text, fault):
    with pytest.raises(ConfigError, match=fault) as raised:
        load_job(write(tmp_path, text), None, {})
    assert raised.value.faults[0][0].startswith(str(tmp_path / "job.yaml"))


def test_aliases_cannot_blow_a_small_file_up(tmp_path):
    levels = "".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]\n" for n in range(1, 12))
    with pytest.raises(ConfigError, match="more than 100000 values"):
        read_job_file(write(tmp_path, "l0: &l0 [1]\n" + levels))


@pytest.mark.parametrize("name", ["job.json", "job", "job.yaml.bak"])
def test_a_file_of_another_kind_is_refused(tmp_path, name):
    with pytest.raises(ConfigError, match="neither"):
        load_job(write(tmp_path, "{}", name), None, {})


@pytest.mark.parametrize("text", ["", "a = ", "a = 1\na = 2\n", "a = \x00", "a = " + "[" * 3000])
def test_a_broken_toml_file_is_one_clear_error(tmp_path, text):
    with pytest.raises(ConfigError, match=r"TOML|empty"):
        load_job(write(tmp_path, text, "job.toml"), None, {})


def test_a_missing_file_and_a_folder_are_config_errors(tmp_path):
    (tmp_path / "folder.yaml").mkdir()
    for name in ("missing.yaml", "folder.yaml"):
        with pytest.raises(ConfigError, match="cannot be read"):
            load_job(tmp_path / name, None, {})


# -- precedence ------------------------------------------------------------------------------------


def test_a_flag_beats_a_variable_beats_the_file_beats_the_default(tmp_path):
    extra = "seed: 1\nreport: {rows: 1}\nmicro_batch: {rows: 1}\n"
    loaded = job(
        tmp_path,
        extra,
        Flags(options=("seed=3",)),
        PENROSE_SEED="2",
        PENROSE_REPORT__ROWS="2",
    )
    assert (loaded.seed, loaded.report.rows, loaded.micro_batch.rows, loaded.waiting.max_rows) == (3, 2, 1, 5_000_000)


def test_another_name_drops_the_options_of_the_plugin_it_replaces(tmp_path):
    assert job(tmp_path, flags=Flags(datasource="kafka")).datasource.options == {}
    assert job(tmp_path, flags=Flags(options=("datasource.name=kafka",))).datasource.options == {}
    assert job(tmp_path, PENROSE_DATASOURCE="kafka").datasource.options == {}


@pytest.mark.parametrize("name", ["files", "penrose-host:files"])
def test_the_same_name_keeps_the_options(tmp_path, name):
    loaded = job(tmp_path, flags=Flags(datasource=name))
    assert loaded.datasource.name == name
    assert loaded.datasource.options["path"] == "data.csv"


def test_variables_choose_first_and_set_options_then(tmp_path):
    loaded = job(tmp_path, PENROSE_DATASOURCE__TOPIC="clicks", PENROSE_DATASOURCE="kafka", PENROSE_DATASOURCE__A__B="1")
    assert (loaded.datasource.name, loaded.datasource.options) == ("kafka", {"topic": "clicks", "a": {"b": 1}})


def test_options_of_a_flag_change_one_value_and_leave_its_neighbours(tmp_path):
    loaded = job(tmp_path, flags=Flags(options=("datasource.nested.b=[x, 2]", "datasource.path=*.csv")))
    assert loaded.datasource.options == {"path": "*.csv", "nested": {"a": 1, "b": ["x", 2]}}


def test_hooks_are_added_once_each(tmp_path):
    extra = "hooks: [audit, {name: slack, channel: x}]\n"
    loaded = job(tmp_path, extra, Flags(plugins=("audit", "slack", "{name: mail, to: me}")))
    assert [(hook.name, hook.options) for hook in loaded.hooks] == [
        ("audit", {}),
        ("slack", {"channel": "x"}),
        ("mail", {"to": "me"}),
    ]
    assert "hooks" in faults(tmp_path, "hooks: [audit, audit]\n")


def test_an_empty_variable_counts_as_not_set(tmp_path):
    assert job(tmp_path, PENROSE_SEED="", PENROSE_RUN_DIR=" ").seed == 0


def test_the_programs_own_variables_are_no_part_of_the_job(tmp_path):
    job(tmp_path, PENROSE_BLOCK="x", PENROSE_ALLOW_DIST="y", PENROSE_LOG_FORMAT="json", OTHER="z", penrose_seed="4")


@pytest.mark.parametrize("embedding", ["none", "{name: none}", "{name: null}"])
def test_no_embedding_can_be_written_in_several_ways(tmp_path, embedding):
    assert job(tmp_path, f"embedding: {embedding}\n").embedding.name == "none"


@pytest.mark.parametrize("embedding", ["none", "{name: none}", "{name: null}", "null", "~"])
def test_a_flag_takes_the_embedding_away(tmp_path, embedding):
    flags = Flags(options=(f"embedding={embedding}",))
    assert job(tmp_path, "embedding: {name: hashing, rows: 8}\n", flags).embedding.name == "none"


@pytest.mark.parametrize("embedding", ["null", "", "~"])
def test_an_embedding_of_null_is_not_said(tmp_path, embedding):
    assert job(tmp_path, f"embedding: {embedding}\n").embedding is None


def test_an_empty_section_has_its_defaults(tmp_path):
    sections = ("micro_batch", "waiting", "metrics", "report", "checkpoint", "output", "until", "hooks")
    loaded = job(tmp_path, "".join(f"{section}:\n" for section in sections))
    assert loaded == job(tmp_path)


# -- values of flags -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("1e3", 1000.0),
        ("true", True),
        ("no", "no"),
        ("", None),
        ("null", None),
        ("*.csv", "*.csv"),
        ("a: b # c", "a: b # c"),
        ("@x %y `z", "@x %y `z"),
        ("<<", "<<"),
        ("'1'", "1"),
        ('"a\\tb"', "a\tb"),
        ("[1, a]", [1, "a"]),
        ("{a: {b: 2}}", {"a": {"b": 2}}),
        ("s3://bucket/é", "s3://bucket/é"),
    ],
)
def test_a_value_is_a_yaml_scalar_or_a_flow_list_or_mapping(text, value):
    assert parse_value(text) == value


@pytest.mark.parametrize("text", ["[1", "{a: 1, a: 2}", "'x", "[a] b", "{!!python/name:os.system x: 1}", "9" * 5000])
def test_a_value_that_is_not_valid_is_a_value_error(text):
    with pytest.raises(ValueError):
        parse_value(text)


# -- faults ----------------------------------------------------------------------------------------


def test_one_error_lists_every_fault_with_its_place_and_origin(tmp_path):
    found = faults(
        tmp_path,
        "micro_batch:\n  rows: 0\n  rowz: 3\norder: random\nidel: 3s\n",
        Flags(options=("report.rows=true", "nonsense", "seed.x=1"), until="tomorrow"),
        PENROSE_CHEKPOINT__ROWS="3",
        PENROSE_WAITING__MAX_ROWS="many",
    )
    path = tmp_path / "job.yaml"
    assert set(found) == {
        "micro_batch.rows", "micro_batch.rowz", "order", "idel", "report.rows", "-o", "seed", "--until",
        "PENROSE_CHEKPOINT__ROWS", "waiting.max_rows",
    }  # fmt: skip
    assert f"({path}:9)" in found["micro_batch.rows"]
    assert "did you mean `rows`?" in found["micro_batch.rowz"]
    assert "did you mean `idle`?" in found["idel"]
    assert "'random'" in found["order"]
    assert "-o report.rows" in found["report.rows"]
    assert "PENROSE_CHECKPOINT" in found["PENROSE_CHEKPOINT__ROWS"]
    assert "PENROSE_WAITING__MAX_ROWS" in found["waiting.max_rows"]


@pytest.mark.parametrize(
    ("extra", "place"),
    [
        ("seed: true\n", "seed"),
        ("seed: -1\n", "seed"),
        ("seed: 1.5\n", "seed"),
        ("idle: 30\n", "idle"),
        ("idle: 3 fortnights\n", "idle"),
        ("until: {event_time: tomorrow}\n", "until.event_time"),
        ("until: {event_time: 5}\n", "until.event_time"),
        ("until: {rows: 0}\n", "until.rows"),
        ("checkpoint: {seconds: .inf}\n", "checkpoint.seconds"),
        ("checkpoint: {seconds: .nan}\n", "checkpoint.seconds"),
        ("checkpoint: {keep: 0}\n", "checkpoint.keep"),
        ("metrics: {window_rows: 5, window_event_time: 1d}\n", "metrics"),
        ("hooks: audit\n", "hooks"),
        ("hooks: [{channel: x}]\n", "hooks.0"),
        ("hooks: [3]\n", "hooks.0"),
        ("embedding: {rows: 3}\n", "embedding"),
        ("embedding: [a]\n", "embedding"),
        ("embedding: ../x\n", "embedding"),
        ("environment: {name: null}\n", "environment"),
        ("output: {predictions: /etc}\n", "output.predictions"),
        ("output: {predictions: a/../..}\n", "output.predictions"),
        ("output: {export: .}\n", "output.export"),
        ("output: {export: checkpoints/x}\n", "output.export"),
        ("output: {export: a/b, predictions: a}\n", "output"),
        ("run_dir: ''\n", "run_dir"),
        ("run_dir: 3\n", "run_dir"),
        ("bad_rows: no\n", "bad_rows"),
        ("micro_batch: 5\n", "micro_batch"),
    ],
)
def test_a_wrong_value_is_refused_at_its_place(tmp_path, extra, place):
    assert list(faults(tmp_path, extra)) == [place]


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden", "é", "x" * 101, "a\\nb", "null", "3"])
def test_a_name_that_cannot_be_a_folder_is_refused(tmp_path, name):
    text = JOB.replace("name: test", f'name: "{name}"' if name not in ("null", "3") else f"name: {name}")
    with pytest.raises(ConfigError) as raised:
        load_job(write(tmp_path, text), None, {})
    assert [place for place, _ in raised.value.faults] == ["name"]


@pytest.mark.parametrize(
    ("option", "fault"),
    [
        ("seed", "takes a.b.c=value"),
        ("=1", "takes a.b.c=value"),
        ("a..b=1", "takes a.b.c=value"),
        ("seed=[1", "not valid YAML"),
        ("name.x=1", "name is not a mapping"),
        ("features.categorical.0=b", "features.categorical is a list"),
    ],
)
def test_a_flag_that_cannot_be_applied_is_a_fault(tmp_path, option, fault):
    (message,) = faults(tmp_path, flags=Flags(options=(option,))).values()
    assert fault in message


def test_text_that_yaml_takes_for_a_number_is_explained(tmp_path):
    assert "in quotes" in faults(tmp_path, flags=Flags(options=("run_dir=2013",)))["run_dir"]


def test_secrets_do_not_show_in_the_jobs_repr_or_in_faults(tmp_path):
    loaded = job(tmp_path, flags=Flags(options=("datasource.password=hunter2",)))
    assert "hunter2" not in repr(loaded)
    assert "hunter2" not in str(faults(tmp_path, flags=Flags(options=("datasource.password=hunter2", "seed=x"))))


# -- round trips -----------------------------------------------------------------------------------

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
SCALARS = (
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats(allow_nan=False) | TEXT
    | st.sampled_from(["no", "1e3", "~", "<<", "=", "0o7", "1_0", "2013-01-01", "null", "1:30", "- a", "a: b", "\x85"])
)  # fmt: skip
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3), max_leaves=10
)
OPTIONS = st.dictionaries(TEXT.filter(lambda key: key != "name"), VALUES, max_size=4)
NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)
MICROS = st.integers(1, (1 << 63) - 1)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
@given(data=st.dictionaries(TEXT, VALUES, min_size=1, max_size=4))
@example(data={"a": "\x00\x07\ufeff", "\x85": "\u2028 \u2029", "b": " two\n lines \n\n"})
def test_every_value_of_json_comes_back_from_yaml(tmp_path, data):
    assert read_job_file(write(tmp_path, to_yaml(data)))[0] == data


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(
    name=NAMES,
    options=OPTIONS,
    hooks=st.lists(NAMES, max_size=3, unique=True),
    idle=st.none() | MICROS,
    span=st.none() | MICROS,
    until=st.none() | st.datetimes(timezones=st.just(datetime.UTC)),
    seed=st.integers(0, (1 << 63) - 1),
)
def test_a_job_comes_back_from_its_yaml_and_its_dict(tmp_path, name, options, hooks, idle, span, until, seed):
    plain = {
        "name": name,
        "datasource": {"name": "files", **options},
        "executor": name,
        "hooks": hooks,
        "features": {"event_time": "ts", "labels": ["y"]},
        "idle": None if idle is None else f"{idle}us",
        "micro_batch": {"event_time": None if span is None else f"{span}us"},
        "until": {"event_time": until},
        "seed": seed,
    }
    job = Job.model_validate(plain)

    assert job.until.event_time is None or job.until.event_time == (until - _EPOCH) // datetime.timedelta(
        microseconds=1
    )
    assert Job.model_validate(json.loads(json.dumps(job.to_dict()))) == job
    assert load_job(write(tmp_path, job.to_yaml()), None, {}) == job


_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


@settings(deadline=None, max_examples=200)
@given(text=st.text(max_size=30))
def test_no_text_of_a_flag_raises_anything_but_value_error(text):
    try:
        value = parse_value(text)
    except ValueError:
        return
    json.dumps(value)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
@given(text=st.text(max_size=60) | st.binary(max_size=60))
def test_no_content_of_a_file_raises_anything_but_config_error(tmp_path, text):
    raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    for name in ("job.yaml", "job.toml"):
        with pytest.raises(ConfigError):
            load_job(write(tmp_path, raw, name), None, {})


# -- documentation ---------------------------------------------------------------------------------


def test_the_documented_job_is_valid_names_every_key_and_shows_the_true_defaults(tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text(encoding="utf-8")
    example = page.split("```yaml\n")[1].split("```")[0]
    data, _ = read_job_file(write(tmp_path, example))

    documented = load_job(write(tmp_path, example), None, {})

    assert set(data) == set(Job.model_fields)
    required = {name for name, field in Job.model_fields.items() if field.is_required()}
    assert documented == Job.model_validate({name: data[name] for name in required})
    for section, value in data.items():
        if isinstance(value, dict) and section not in required:
            assert set(value) == set(type(getattr(documented, section)).model_fields)


# -- words ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "fault"),
    [
        ("label_delay=3m", "did you mean `features.label_delay`?"),
        ("rows=3", "did you mean `micro_batch.rows` or `report.rows` or `checkpoint.rows` or `until.rows`?"),
        ("windowrows=3", "did you mean `metrics.window_rows`?"),
        ("features.idle=3s", "is unknown; known are categorical, crosses"),
        ("features.name=x", "is unknown; known are categorical, crosses"),
        ("options=3", "is unknown; known are"),
        ("micro_batch=3", "should be a mapping, as in {key: value}, not 3"),
        ("features.labels=[]", "should not be empty"),
        ("features.categorical=a", "should be a list, as in [a, b]"),
        ("features.crosses=[[a]]", "should have at least 2 entries"),
        ("features.event_time=5", "should be a mapping"),
        ("metrics.window_rows=x", "should be a whole number"),
        ("seed=1.5", "should be a whole number, not 1.5"),
        ("seed=-1", "should be at least 0, not -1"),
        ("features.numeric=[{column: x, default: low}]", "should be a number"),
        ("features.lists=[{column: x, ordered: 7}]", "should be true or false, not 7"),
        ("name=3", "should be text: write it in quotes"),
        ("name=null", "should be text"),
        ("name=a/b", "should have 1 to 100 letters (a to z), digits, `.`, `_` and `-`"),
        ("name='a\n'", "should have 1 to 100 letters"),
        ("run_dir=\udcff", "is not UTF-8 text"),
        ("seed=[64", "'[64' cannot be read (is not valid YAML: expected"),
    ],
)
def test_faults_are_told_in_words_of_a_job_and_not_of_a_library(tmp_path, option, fault):
    (found,) = faults(tmp_path, flags=Flags(options=(option,))).values()
    assert found.startswith(fault) or fault in found
    for foreign in ("Tuple", "tuple", "dictionary", "instance", "Input", "string", "integer", "validation", "boolean"):
        assert foreign not in found


# -- differences -----------------------------------------------------------------------------------


def test_the_difference_of_two_fingerprints_names_each_place():
    before = {"seed": 0, "executor": {"name": "torch", "model": "fm", "layers": [1, 2]}, "embedding": {"name": "none"}}
    now = {
        "seed": 0,
        "executor": {"name": "torch", "model": "dcn", "layers": [1, 2]},
        "embedding": {"name": "hashing", "rows": 8},
    }

    assert difference(before, before) == []
    assert difference(before, now) == [
        "embedding.name: was 'none', is 'hashing'",
        "executor.model: was 'fm', is 'dcn'",
    ]


def test_of_lists_and_of_other_plugins_only_what_differs_is_shown():
    def features(*names, **changes):
        return [{"name": name, "column": changes.get(name, name)} for name in names]

    many = [f"tag{number}" for number in range(1000)]
    before = {"a": features("x", "y", "z"), "b": {"name": "one", "p": 1}, "c": many, "d": [1], "e": "x" * 500 + "y"}
    now = {"a": features("y", "x", "w", y="v"), "b": {"name": "two", "q": 2}, "c": [*many[:7], "no", *many[8:], "k"]}
    now |= {"d": [1, 2], "e": "x" * 500 + "z"}

    assert difference(before, now) == [
        "a: 'z' is not there any more",
        "a: 'w' is new",
        "a: the order was ['x', 'y'], is ['y', 'x']",
        "a.y.column: was 'y', is 'v'",
        "b.name: was 'one', is 'two'",
        "c: had 1000 entries, has 1001",
        "c.7: was 'tag7', is 'no'",
        "d: was [1], is [1, 2]",
        f"e: was '{'x' * 59} … {'x' * 13}y', is '{'x' * 59} … {'x' * 13}z'",
    ]
    assert difference({"e": int("1" * 100)}, {"e": int("1" * 120)})
    assert difference({"e": "x" * 500 + "y" + "x" * 500}, {"e": "x" * 500 + "z" + "x" * 500})[0].startswith(
        "e: was … yxx"
    )


VALUES = st.recursive(
    st.none() | st.integers(0, 3) | st.text("ab", max_size=200),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["name", "a", "b"]), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from("abc"), VALUES), st.dictionaries(st.sampled_from("abc"), VALUES))
def test_fingerprints_differ_where_they_are_not_equal_and_nowhere_else(one, other):
    assert (difference(one, other) == []) == (one == other)
    assert difference(one, one) == []


def test_toml_is_what_the_standard_library_says_it_is(tmp_path):
    text = "a = 2013-06-01\nb = [07:30:00]\n"
    data, _ = read_job_file(write(tmp_path, text, "x.toml"))
    assert data == {"a": tomllib.loads(text)["a"].isoformat(), "b": ["07:30:00"]}


SERVICE_LINKS = {
    "PENROSE_SERVICE_HOST": "10.0.0.1",
    "PENROSE_SERVICE_PORT": "80",
    "PENROSE_SERVICE_PORT_HTTP": "80",
    "PENROSE_PORT": "tcp://10.0.0.1:80",
    "PENROSE_PORT_80_TCP": "tcp://10.0.0.1:80",
    "PENROSE_PORT_80_TCP_ADDR": "10.0.0.1",
    "PENROSE_METRICS_PORT_9100_TCP_PROTO": "tcp",
    "PENROSE_REPORT_SERVICE_HOST": "10.0.0.2",
}


def test_variables_that_kubernetes_makes_of_a_service_are_left_alone(tmp_path):
    assert job(tmp_path, **SERVICE_LINKS) == job(tmp_path)


@pytest.mark.parametrize("name", ["PENROSE_PORTS", "PENROSE_PORT_A_TCP", "PENROSE_SERVICE", "PENROSE_SERVICE_HOSTS"])
def test_a_variable_that_is_only_like_them_is_a_fault(tmp_path, name):
    with pytest.raises(ConfigError, match=f"{name}: is not a variable of Penrose"):
        job(tmp_path, **{name: "1"})
