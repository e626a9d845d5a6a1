"""Configs: the defaults, their order of precedence, and what is said of a wrong one."""

from __future__ import annotations

import difflib
import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from lthrun.config import CONFIGS, LEARNED, schema
from lthrun.config.loading import dump, key_paths, load_config, locate, parse, shipped
from lthrun.errors import UserError

FILES = sorted(shipped().rglob("*.yaml"))


def test_the_defaults_are_the_experiment_of_the_protocol():
    config = load_config(None, "ticket")
    assert (config.data.dataset, config.data.image_size, config.data.validation, config.data.split_seed) == (
        "pets", 64, 20, 42,
    )  # fmt: skip
    assert (config.model.name, config.training.epochs, config.training.batch_size) == ("resnet18", 5, 64)
    assert (config.training.learning_rate, config.training.betas, config.training.eps) == (1e-3, (0.9, 0.99), 1e-5)
    assert (config.pruning.sparsity, config.pruning.steps, config.pruning.criterion) == (50, 3, "large_final")
    assert (config.pruning.granularity, config.pruning.context, config.pruning.protocol) == (
        "weight",
        "local",
        "frankle",
    )
    assert (config.rewind.to, config.rewind.train) == ("0ep", "full")


@pytest.mark.parametrize(
    "name", ["baseline", "ticket", "prune", "supermask", "edge-popup", "bernoulli", "connectivity"]
)
def test_the_shipped_pets_configs_spell_out_the_defaults(name):
    tree = yaml.safe_load((shipped() / f"{name}.yaml").read_text())
    learned = name in LEARNED
    plain = load_config(None, tree["experiment"], options={"supermask.method": name} if learned else {})
    assert load_config(f"configs/{name}.yaml") == plain
    spelt, wanted = (
        {f"{s}.{k}" for s, keys in found.items() if isinstance(keys, dict) for k in keys}
        for found in (tree, yaml.safe_load(dump(plain)))
    )
    assert spelt == wanted - {"data.dir", "data.skip_unreadable"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(shipped()).as_posix())
def test_each_shipped_config_names_its_schema_and_its_command_first(file: Path):
    first = file.read_text().splitlines()[0]
    name = file.relative_to(shipped()).as_posix()
    experiment = load_config(file).experiment
    up = "../" * name.count("/")
    assert first == (
        f"# yaml-language-server: $schema={up}schema.json  run: lthrun {experiment} --config configs/{name}"
    )
    assert locate(f"configs/{name}") and locate(name.removesuffix(".yaml"))


def test_each_experiment_is_there_on_pets_and_small_and_the_first_four_as_in_the_tutorial():
    four = ["baseline", "rewind", "supermask", "ticket"]
    others = ["bernoulli", "compare", "connectivity", "edge-popup", "prune"]
    assert {f.relative_to(shipped()).with_suffix("").as_posix() for f in FILES} == {
        *(f"{prefix}{name}" for prefix in ("", "smoke/") for name in [*four, *others]),
        *(f"tutorial/{name}" for name in four),
    }


def test_smoke_configs_are_small():
    for file in (shipped() / "smoke").glob("*.yaml"):
        config = load_config(file)
        assert (config.data.dataset, config.data.image_size, config.precision) == ("synthetic", 32, "float32")


def test_tutorial_configs_follow_fasterai():
    for name in ("ticket", "rewind", "supermask"):
        assert load_config(f"tutorial/{name}").pruning.protocol == "fasterai"
    assert load_config("tutorial/supermask").supermask.batch_norm == "initial"


def test_schema_on_disk_is_the_schema_of_the_code():
    assert json.loads((shipped() / "schema.json").read_text()) == schema(), "run `make schema`"


def test_precedence_is_defaults_file_set_options(tmp_path: Path):
    file = tmp_path / "c.yaml"
    file.write_text("experiment: ticket\nseed: 1\ntraining: {epochs: 2, batch_size: 16}\n")
    config = load_config(file, "ticket", ["training.epochs=3", "training.batch_size=32"], {"training.epochs": 4})
    assert (config.seed, config.training.epochs, config.training.batch_size) == (1, 4, 32)
    assert config.training.learning_rate == 1e-3


@pytest.mark.parametrize("text", ["1e-3", "1.0e-3", "0.001"])
def test_scientific_numbers_are_numbers(text):
    assert load_config(None, "ticket", [f"training.learning_rate={text}"]).training.learning_rate == 1e-3


@pytest.mark.parametrize(
    ("text", "value"),
    [("2:4", "2:4"), ("1:30:00", "1:30:00"), ("12", 12), ("-3", -3), ("0x10", 16), ("1_000", 1000), ("1.5", 1.5),
     (".5", 0.5), ("5.", 5.0), ("-1.5e-3", -0.0015), ("2e3", 2000.0), (".inf", float("inf")), ("1ep", "1ep"), ("null", None),
     ("true", True), ("0ep", "0ep"), ("010", "010"), ("0", 0), ("1.2.3", "1.2.3"), ("-", None)],
)  # fmt: skip
def test_numbers_are_read_as_everybody_writes_them(text, value):
    found = parse(text, "here")
    assert found == value or (text == "-" and found == [None])
    assert type(found) is type(value) or text == "-"


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "seed": st.integers(0, 10**6),
            "training.epochs": st.integers(4, 99),
            "training.learning_rate": st.floats(1e-8, 10),
            "training.weight_decay": st.floats(0, 1),
            "training.evaluate_every": st.none() | st.integers(1, 10**6),
            "pruning.sparsity": st.one_of(st.just(0), st.floats(1, 99.9)),
            "pruning.steps": st.integers(1, 50),
            "pruning.context": st.sampled_from(["local", "global"]),
            "rewind.to": st.sampled_from(["0ep", "1ep", "3ep", "200it"]),
            "data.image_size": st.integers(16, 512),
        },
    ),
    st.sampled_from(["ticket", "supermask"]),
)
def test_what_is_dumped_loads_as_the_same_config(tmp_path_factory, settings, experiment):
    config = load_config(None, experiment, options=settings)
    file = tmp_path_factory.mktemp("dump") / "config.yaml"
    file.write_text(dump(config))
    assert load_config(file) == config


@given(st.sampled_from(key_paths(CONFIGS["ticket"])), st.data())
def test_a_misspelt_key_is_told_which_was_meant(key, data):
    section, _, name = key.rpartition(".")
    place = data.draw(st.integers(0, len(name) - 1))
    wrong = name[:place] + name[place + 1 :]  # one letter lost
    siblings = [k.rpartition(".")[2] for k in key_paths(CONFIGS["ticket"]) if k.rpartition(".")[0] == section]
    if wrong in siblings or not wrong or difflib.get_close_matches(wrong, siblings, n=1) != [name]:
        return
    path = f"{section}.{wrong}" if section else wrong
    with pytest.raises(UserError) as error:
        load_config(None, "ticket", options={path: 1})
    assert f"{path}: unknown key; did you mean {key}?" in str(error.value)


WRONG = {
    "training.epochs=0": "training.epochs: found 0; must be greater than or equal to 1",
    "training.epochs=2.5": "training.epochs: found 2.5; must be a valid integer",
    "training.epochs=true": "training.epochs: found True; must be a valid integer",
    "training.batch_size=1": "training.batch_size: found 1; must be greater than or equal to 2",
    "training.learning_rate=0": "training.learning_rate: found 0; must be greater than 0",
    "training.learning_rate=.nan": "training.learning_rate: found nan; must be a finite number",
    "training.learning_rate=fast": "training.learning_rate: found 'fast'; must be a valid number",
    "training.betas=[0.9]": "training.betas.1: found",
    "training.betas=[0.9, 1.5]": "training.betas: found [0.9, 1.5]; must each be at least 0 and below 1",
    "training.eps=-1": "training.eps: found -1; must be greater than 0",
    "training.evaluate_every=0": "training.evaluate_every: found 0; must be greater than or equal to 1",
    "training.evaluate_images=5": "training.evaluate_images: found 5; of training.evaluate_every, which is not set",
    "training.weight_decay=-1": "training.weight_decay: found -1; must be greater than or equal to 0",
    "training=5": "training: found 5; must be a section of keys",
    "pruning.sparsity=0.5": "pruning.sparsity: found 0.5; sparsity is in percent, so write 50 for this share",
    "pruning.sparsity=100": "pruning.sparsity: found 100; must be in percent, at least 0 and below 100",
    "pruning.sparsity=-3": "pruning.sparsity: found -3; must be in percent",
    "pruning.steps=0": "pruning.steps: found 0; must be greater than or equal to 1",
    "pruning.criterion=large": "pruning.criterion: found 'large'; must be one of large_final, squared_final, small_final",
    "pruning.granularity=pixel": "pruning.granularity: found 'pixel'; must be one of weight",
    "pruning.context=both": "pruning.context: found 'both'; must be 'local' or 'global'",
    "pruning.protocol=zhou": "pruning.protocol: found 'zhou'; must be 'frankle' or 'fasterai'",
    "rewind.to=1": "rewind.to: found 1; must be a valid string",
    "rewind.to=one": "rewind.to: found 'one'; must be like 0ep, 1ep or 200it",
    "rewind.to=5ep": "rewind.to: found 5ep; must lie before the end of level 0",
    "rewind.train=half": "rewind.train: found 'half'; must be 'full' or 'remaining'",
    "data.dataset=cats": "data.dataset: found 'cats'; must be one of folder, pets, synthetic, cifar10, mnist",
    "data.labels=colour": "data.labels: found 'colour'; must be 'species' or 'breed'",
    "data.image_size=8": "data.image_size: found 8; must be greater than or equal to 16",
    "data.validation=100": "data.validation: found 100; must be less than 100",
    "data.test=100": "data.test: found 100; must be less than 100",
    "data.test=85": "data.test: found 85; with validation: 20 no training images are left",
    "data.augmentation=[blur]": "data.augmentation.0: found 'blur'; must be one of none, flip, crop, resized_crop",
    "data.augmentation=flip": "data.augmentation: found 'flip'; must be a list of one or more, like [a, b]",
    "data.augmentation=[]": "data.augmentation: found []; must be a list of one or more, like [a, b]",
    "data.augmentation=[flip, none]": "data.augmentation: found ['flip', 'none']; none does not go with others",
    "data.augmentation=[crop, flip, resized_crop]": "['crop', 'flip', 'resized_crop']; crop does not go with resized_crop",
    "data.crop_padding=0": "data.crop_padding: found 0; must be greater than or equal to 1",
    "data.crop_scale=[0.5, 0.3]": "data.crop_scale: found [0.5, 0.3]; must be two shares from 0.05 to 1, the lesser first",
    "data.normalize=imagenet": "data.normalize: found 'imagenet'; must be 'none' or 'dataset'",
    "data.split_seed=-1": "data.split_seed: found -1; must be greater than or equal to 0",
    "data.dir=5": "data.dir: found 5; must be a valid string",
    "data.skip_unreadable=1": "data.skip_unreadable: found 1; must be a valid boolean",
    "model.name=resnet19": "model.name: found 'resnet19'; must be one of resnet18, resnet34, resnet50",
    "seed=-1": "seed: found -1; must be greater than or equal to 0",
    "device=gpu": "device: found 'gpu'; must be auto, cpu, cuda or cuda:N",
    "deterministic=1": "deterministic: found 1; must be a valid boolean",
    "precision=float16": "precision: found 'float16'; must be 'auto', 'float32' or 'bfloat16'",
    "epochs=3": "epochs: unknown key; did you mean training.epochs?",
    "trainin.epochs=3": "trainin: unknown key; did you mean training?",
    "supermask.batch_norm=initial": "supermask: unknown key; it belongs to supermask",
    "training.optimizer=adam": "training.optimizer: found 'adam'; must be one of adamw, sgd (did you mean adamw?)",
    "training.schedule=linear": "training.schedule: found 'linear'; must be one of constant, step, cosine, one_cycle",
    "training.warmup=3": "training.warmup: found 3; must be a valid string",
    "training.warmup=three": "training.warmup: found 'three'; must be like 0ep, 2ep or 200it",
    "training.warmup=6ep": "training.warmup: found 6ep; must end within training.epochs, which is 5",
    "pruning.steps=1001": "pruning.steps: found 1001; must be less than or equal to 1000",
    "training.final=0": "training.final: found 0; must be greater than 0",
    "training.milestones=50": "training.milestones: found 50; must be a list of one or more, like [a, b]",
    "training.milestones=[a]": "training.milestones.0: found 'a'; must be a valid number",
    "training.gamma=1": "training.gamma: found 1; must be less than 1",
    "training.momentum=1": "training.momentum: found 1; must be less than 1",
    "pruning.types=[]": "pruning.types: found []; ",
    "pruning.types=[pool]": "pruning.types.0: found 'pool'; must be 'conv' or 'linear'",
    "pruning.include=[]": "pruning.include: found []; ",
    "pruning.exclude=[3]": "pruning.exclude.0: found 3; must be a valid string",
    "pruning.first=1": "pruning.first: found 1; must be a valid boolean",
    "pruning.shortcuts=maybe": "pruning.shortcuts: found 'maybe'; must be a valid boolean",
    "pruning.classifier=2": "pruning.classifier: found 2; must be a valid boolean",
    "pruning.initial_sparsity=60": "pruning.initial_sparsity: found 60; must not be above sparsity",
    "pruning.schedule=agp": "pruning.schedule: found agp; a ticket rewinds at every change of sparsity",
    "pruning.schedule=custom": "pruning.sparsities: found []; schedule: custom and a list like",
    "pruning.sparsities=[20, 0.5]": "pruning.sparsities.1: found 0.5; sparsity is in percent, so write 50",
    "pruning.sparsities=[20, 50]": "pruning.sparsities: found [20.0, 50.0]; schedule: custom and a list",
    "pruning.targets={fc: 0.3}": "pruning.targets.fc: found 0.3; sparsity is in percent, so write 30",
    "pruning.batches=0": "pruning.batches: found 0; must be greater than or equal to 1",
    "pruning.granularity=layer": "pruning.granularity: found layer; a layer by itself is all or nothing",
    "pruning.granularity=1:4": "pruning.sparsity: found 50; granularity 1:4 prunes 75 %, write that",
    "pruning.granularity=4:4": "pruning.granularity: found 4:4; n of every m weights stay, so n must be from 1 to m - 1",
    "pruning.round_to=0": "pruning.round_to: found 0; must be greater than or equal to 1",
    "rewind.retrain=rate": "rewind.retrain: found 'rate'; must be 'weights', 'lr' or 'finetune'",
    "rewind.retrain=lr": "rewind.retrain: found lr; at a constant learning rate there is nothing to rewind",
    "rewind.kept=redrawn": "rewind.kept: found 'redrawn'; must be one of rewind, redraw, shuffle, sign_constant",
    "rewind.pruned=gone": "rewind.pruned: found 'gone'; must be one of zero, frozen",
    "colour=red": "colour: unknown key; known here: experiment, seed",
    "experiment=baseline": "--set experiment: the experiment is chosen by the command",
    "training.epochs": "--set: found 'training.epochs'; must be section.key=value",
    "training.epochs=[": "--set training.epochs=[: line 1, column 2 not valid YAML",
}


@pytest.mark.parametrize("context", WRONG)
def test_a_wrong_setting_is_named_with_what_would_be_right(context):
    with pytest.raises(UserError) as error:
        load_config(None, "ticket", [context])
    assert WRONG[context] in str(error.value)
    assert "\n" not in str(error.value)


WRONG_ELSEWHERE = {
    ("compare", "compare.seeds=0"): "compare.seeds: found 0; must be greater than or equal to 1",
    ("compare", "compare.arms=[best]"): "compare.arms: found ['best']; there is no arm best; must be among dense",
    ("compare", "compare.sparsities=[0.5]"): "compare.sparsities.0: found 0.5; sparsity is in percent, so write 50",
    ("compare", "compare.prune_rate=100"): "compare.prune_rate: found 100; must be less than 100",
    ("compare", "compare.rewind=soon"): "compare.rewind: found 'soon'; must be like 0ep, 1ep or 200it",
    ("compare", "compare.margin=-1"): "compare.margin: found -1; must be greater than or equal to 0",
    ("prune", "pruning.begin=100"): "pruning.begin: found 100; must be less than 100",
    ("prune", "pruning.end=10"): "pruning.end: found 10; must not be before begin, which is 20",
    ("prune", "pruning.steps=0"): "pruning.steps: found 0; must be greater than or equal to 1",
    ("supermask", "rewind.pruned=frozen"): "rewind.pruned: found frozen; with rewind.kept: rewind, kept and pruned",
    ("prune", "pruning.protocol=frankle"): "pruning.protocol: unknown key; it belongs to ticket and supermask",
    ("prune", "rewind.to=1ep"): "rewind: unknown key; it belongs to ticket and supermask",
    (
        "supermask",
        "supermask.method=zhou",
    ): "supermask.method: found 'zhou'; must be 'lth', 'edge-popup' or 'bernoulli'",
    ("supermask", "supermask.weights=kaiming_normal"): "supermask.weights: found kaiming_normal; of method lth, rewind",
    ("connectivity", "connectivity.rewind_points=[]"): "connectivity.rewind_points: found []; must be a list of one",
    ("connectivity", "connectivity.points=1.5"): "connectivity.points: found 1.5; must be a valid integer",
    ("connectivity", "rewind.to=0ep"): "rewind.to: found 0ep; connectivity.rewind_points says it here: leave it out",
    ("supermask", "supermask.batch_norm=none"): "supermask.batch_norm: found 'none'; must be 'recalibrate', 'initial'",
}


@pytest.mark.parametrize(("experiment", "context"), WRONG_ELSEWHERE)
def test_a_wrong_setting_of_another_experiment_is_named_too(experiment, context):
    with pytest.raises(UserError) as error:
        load_config(None, experiment, [context])
    assert WRONG_ELSEWHERE[experiment, context] in str(error.value)


def test_every_key_has_a_wrong_case():
    keys = {context.partition("=")[0] for context in [*WRONG, *(context for _, context in WRONG_ELSEWHERE)]}
    paths = {path for kind in CONFIGS.values() for path in key_paths(kind)}
    assert {path for path in paths if not any(other.startswith(f"{path}.") for other in paths)} <= keys


TOGETHER = [
    (
        {"rewind.retrain": "lr", "training.schedule": "step", "training.milestones": []},
        "rewind.retrain: found lr; at a",
    ),
    ({"rewind.retrain": "lr", "training.schedule": "cosine", "training.final": 1}, "rewind.retrain: found lr; at a"),
    ({"pruning.granularity": "2:4"}, "pruning.steps: found 3; granularity 2:4 prunes whole weights of every 4"),
    (
        {"rewind.to": "1ep", "training.schedule": "cosine"},
        "rewind.train: found full; a level rewound into the training",
    ),
    ({"rewind.kept": "redraw", "rewind.to": "1ep"}, "rewind.kept: found redraw; the resets of Zhou et al. start from"),
    ({"rewind.pruned": "frozen", "rewind.retrain": "finetune"}, "rewind.pruned: found frozen; the resets of Zhou"),
    ({"rewind.pruned": "frozen", "pruning.granularity": "filter"}, "rewind.pruned: found frozen; granularity filter"),
    (
        {"pruning.context": "global", "pruning.targets": {"fc": 20}},
        "pruning.targets: found {'fc': 20.0}; context: global",
    ),
    ({"pruning.sparsity": 0, "pruning.targets": {"fc": 20}}, "pruning.targets: found {'fc': 20.0}; they follow"),
    (
        {"pruning.granularity": "2:4", "pruning.context": "global"},
        "pruning.granularity: found 2:4; it fixes every block",
    ),
    ({"pruning.granularity": "2:4", "pruning.round_to": 8}, "pruning.granularity: found 2:4; it fixes every block"),
    (
        {"pruning.schedule": "custom", "pruning.sparsities": [50, 20]},
        "pruning.sparsities: found [50.0, 20.0]; must not fall",
    ),
    ({"pruning.protocol": "fasterai", "rewind.retrain": "finetune"}, "rewind.retrain: found finetune; the fasterai"),
    ({"pruning.protocol": "fasterai", "rewind.kept": "shuffle"}, "rewind.kept: found shuffle; the fasterai protocol"),
]


@pytest.mark.parametrize(("settings", "message"), TOGETHER)
def test_settings_that_do_not_go_together_are_refused_with_the_one_to_change(settings, message):
    with pytest.raises(UserError) as error:
        load_config(None, "ticket", options=settings)
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("method", LEARNED)
@pytest.mark.parametrize(
    "key",
    ["pruning.steps=3", "pruning.criterion=snip", "rewind.to=0ep", "pruning.granularity=filter", "rewind.kept=redraw"],
)
def test_a_method_that_learns_its_mask_refuses_the_keys_of_tickets(method, key):
    with pytest.raises(UserError) as error:
        load_config(None, "supermask", [f"supermask.method={method}", key])
    assert f"{key.partition('=')[0]}: found" in str(error.value) and "has no use for it" in str(error.value)


def test_a_section_that_is_none_is_not_replaced_by_a_methods_defaults():
    with pytest.raises(UserError, match="training: found 5; must be a section of keys"):
        load_config(None, "supermask", ["supermask.method=edge-popup", "training=5"])


def test_a_bernoulli_mask_refuses_a_sparsity_because_it_is_a_result():
    with pytest.raises(UserError, match=r"pruning.sparsity: found 30; the sparsity of a bernoulli mask is a result"):
        load_config(None, "supermask", options={"supermask.method": "bernoulli", "pruning.sparsity": 30})


@pytest.mark.parametrize("method", LEARNED)
def test_methods_have_defaults_of_their_own_and_are_dumped_without_what_they_do_not_use(method, tmp_path: Path):
    config = load_config(None, "supermask", options={"supermask.method": method, "training.epochs": 7})
    assert (config.training.epochs, config.training.schedule, config.pruning.classifier) == (7, "cosine", True)
    tree = yaml.safe_load(dump(config))
    assert "rewind" not in tree and ("sparsity" in tree["pruning"]) == (method == "edge-popup")
    file = tmp_path / "dumped.yaml"
    file.write_text(dump(config))
    assert load_config(file) == config


def test_a_config_of_another_experiment_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match="found ticket; this is not a config of `lthrun baseline`"):
        load_config("ticket", "baseline")
    file = tmp_path / "c.yaml"
    file.write_text("experiment: lottery\n")
    with pytest.raises(UserError, match="found 'lottery'; must be one of baseline, ticket, prune, supermask"):
        load_config(file)


def test_sections_of_other_experiments_are_said_to_be_theirs():
    with pytest.raises(UserError, match="pruning: unknown key; it belongs to ticket and prune and supermask"):
        load_config(None, "baseline", ["pruning.sparsity=30"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"training: [", "not valid YAML"),
        (b"- 1\n- 2\n", "found list; a config is a mapping of sections"),
        (b"training: {epochs: 2, epochs: 3}", "line 1, column 23 not valid YAML: key 'epochs' stands twice"),
        (b"\xff\xfe\x00", "cannot be read as UTF-8 text"),
        (b"training: !!python/object:os.system {}", "not valid YAML"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, content: bytes, message: str):
    file = tmp_path / "broken.yaml"
    file.write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        load_config(file)
    assert "broken.yaml" in str(error.value)


def test_a_missing_file_lists_the_shipped_ones():
    with pytest.raises(
        UserError,
        match="found no file nowhere.yaml; shipped with lthrun are baseline, bernoulli, compare, connectivity, edge-popup",
    ):
        load_config("nowhere.yaml")


def test_fasterai_has_no_remaining():
    with pytest.raises(UserError, match="rewind.train: found remaining; the fasterai protocol's clock never goes back"):
        load_config(None, "ticket", options={"pruning.protocol": "fasterai", "rewind.train": "remaining"})
