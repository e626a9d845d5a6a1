"""What is said of a wrong config: the key, what was there, what would be right."""

from __future__ import annotations

import difflib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lthrun.config.fields import fields_by_key
from lthrun.errors import UserError
from lthrun.experiments import EXPERIMENTS, load_config
from lthrun.experiments.supermask_config import LEARNED

KEYS = {name: list(fields_by_key(entry.make)) for name, entry in EXPERIMENTS.items()}
# By experiment and settings, which are separated by semicolons.
WRONG = {
    "ticket training.epochs=0": "training.epochs: found 0; must be greater than or equal to 1",
    "ticket training.epochs=2.5": "training.epochs: found 2.5; must be a valid integer",
    "ticket training.epochs=true": "training.epochs: found True; must be a valid integer",
    "ticket training.batch_size=1": "training.batch_size: found 1; must be greater than or equal to 2",
    "ticket training.learning_rate=0": "training.learning_rate: found 0; must be greater than 0",
    "ticket training.learning_rate=.nan": "training.learning_rate: found nan; must be a finite number",
    "ticket training.learning_rate=fast": "training.learning_rate: found 'fast'; must be a valid number",
    "ticket training.betas=[0.9]": "training.betas.1: found [0.9]; a value is missing",
    "ticket training.betas=[0.9, 0.9, 0.9]": "training.betas: found [0.9, 0.9, 0.9]; must have 2 values",
    "ticket training.betas=[0.9, 1.5]": "training.betas: found [0.9, 1.5]; must each be at least 0 and below 1",
    "ticket training.eps=-1": "training.eps: found -1; must be greater than 0",
    "ticket training.evaluate_every=0": "training.evaluate_every: found 0; must be greater than or equal to 1",
    "ticket training.evaluate_images=5": "training.evaluate_images: found 5; needs training.evaluate_every, which is not set",
    "ticket training.weight_decay=-1": "training.weight_decay: found -1; must be greater than or equal to 0",
    "ticket training=5": "training: found 5; must be a section of keys",
    "ticket pruning.sparsity=0.5": "pruning.sparsity: found 0.5; sparsity is in percent, so write 50 for this share",
    "ticket pruning.sparsity=100": "pruning.sparsity: found 100; must be in percent, at least 0 and below 100",
    "ticket pruning.sparsity=-3": "pruning.sparsity: found -3; must be in percent",
    "ticket pruning.steps=0": "pruning.steps: found 0; must be greater than or equal to 1",
    "ticket pruning.criterion=large": "pruning.criterion: found 'large'; must be one of large_final, squared_final, small_final",
    "ticket pruning.granularity=pixel": "pruning.granularity: found 'pixel'; must be one of weight",
    "ticket pruning.context=both": "pruning.context: found 'both'; must be 'auto', 'local' or 'global'",
    "ticket pruning.protocol=zhou": "pruning.protocol: found 'zhou'; must be 'frankle' or 'fasterai'",
    "ticket rewind.to=1": "rewind.to: found 1; must be like 0ep, 1ep or 200it",
    "ticket rewind.to=one": "rewind.to: found 'one'; must be like 0ep, 1ep or 200it",
    "ticket rewind.to=5ep": "rewind.to: found 5ep; must lie before the end of level 0",
    "ticket rewind.train=half": "rewind.train: found 'half'; must be 'full' or 'remaining'",
    "ticket data.dataset=cats": "data.dataset: found 'cats'; must be one of folder, pets, synthetic, cifar10, mnist",
    "ticket data.labels=color": "data.labels: found 'color'; must be 'species' or 'breed'",
    "ticket data.image_size=8": "data.image_size: found 8; must be greater than or equal to 16",
    "ticket data.validation=100": "data.validation: found 100; must be less than 100",
    "ticket data.augmentation=[blur]": "data.augmentation.0: found 'blur'; must be one of none, flip, crop, resized_crop",
    "ticket data.augmentation=flip": "data.augmentation: found 'flip'; must be a list of one or more, like [a, b]",
    "ticket data.augmentation=[]": "data.augmentation: found []; must be a list of one or more, like [a, b]",
    "ticket data.augmentation=[flip, none]": "data.augmentation: found ['flip', 'none']; none does not go with others",
    "ticket data.augmentation=[crop, flip, resized_crop]": "data.augmentation: found ['crop', 'flip', 'resized_crop']; crop does not go with",
    "ticket data.crop_padding=0": "data.crop_padding: found 0; must be greater than or equal to 1",
    "ticket data.crop_scale=[0.5, 0.3]": "data.crop_scale: found [0.5, 0.3]; must be two shares from 0.05 to 1, the lesser first",
    "ticket data.normalize=imagenet": "data.normalize: found 'imagenet'; must be 'none' or 'dataset'",
    "ticket data.test=100": "data.test: found 100; must be less than 100",
    "ticket data.test=80": "data.test: found 80; with validation: 20 no training images are left",
    "ticket data.split_seed=-1": "data.split_seed: found -1; must be greater than or equal to 0",
    "ticket data.dir=5": "data.dir: found 5; must be a valid string",
    "ticket data.skip_unreadable=1": "data.skip_unreadable: found 1; must be a valid boolean",
    "ticket model.name=resnet19": "model.name: found 'resnet19'; must be one of resnet18, resnet34, resnet50",
    "ticket seed=-1": "seed: found -1; must be greater than or equal to 0",
    "ticket device=gpu": "device: found 'gpu'; must be like auto, cpu, cuda, cuda:0 or mps",
    "ticket deterministic=1": "deterministic: found 1; must be a valid boolean",
    "ticket precision=float16": "precision: found 'float16'; must be 'auto', 'float32' or 'bfloat16'",
    "ticket epochs=3": "epochs: unknown key; did you mean training.epochs?",
    "ticket trainin.epochs=3": "trainin: unknown key; did you mean training?",
    "ticket supermask.batch_norm=initial": "supermask: unknown key; it belongs to supermask",
    "ticket training.optimizer=adamm": "training.optimizer: found 'adamm'; must be one of adamw, adam, sgd (did you mean adam?)",
    "ticket training.schedule=linear": "training.schedule: found 'linear'; must be one of constant, step, cosine, one_cycle",
    "ticket training.warmup=3": "training.warmup: found 3; must be like 0ep, 1ep or 200it",
    "ticket training.warmup=three": "training.warmup: found 'three'; must be like 0ep, 1ep or 200it",
    "ticket training.warmup=6ep": "training.warmup: found 6ep; must end within training.epochs, which is 5",
    "ticket pruning.steps=1001": "pruning.steps: found 1001; must be less than or equal to 1000",
    "ticket training.final=0": "training.final: found 0; must be greater than 0",
    "ticket training.milestones=50": "training.milestones: found 50; must be a list of one or more, like [a, b]",
    "ticket training.milestones=[a]": "training.milestones.0: found 'a'; must be a valid number",
    "ticket training.gamma=1": "training.gamma: found 1; must be less than 1",
    "ticket training.nesterov=3": "training.nesterov: found 3; must be a valid boolean",
    "ticket training.momentum=1": "training.momentum: found 1; must be less than 1",
    "ticket pruning.types=[]": "pruning.types: found []; must be a list of one or more",
    "ticket pruning.types=[pool]": "pruning.types.0: found 'pool'; must be 'conv' or 'linear'",
    "ticket pruning.include=[]": "pruning.include: found []; must be a list of one or more",
    "ticket pruning.exclude=[3]": "pruning.exclude.0: found 3; must be a valid string",
    "ticket pruning.first=1": "pruning.first: found 1; must be a valid boolean",
    "ticket pruning.shortcuts=maybe": "pruning.shortcuts: found 'maybe'; must be a valid boolean",
    "ticket pruning.classifier=2": "pruning.classifier: found 2; must be a valid boolean",
    "ticket pruning.initial_sparsity=60": "pruning.initial_sparsity: found 60; must not be above sparsity",
    "ticket pruning.schedule=agp": "pruning.schedule: found agp; a ticket rewinds at every change of sparsity",
    "ticket pruning.schedule=custom": "pruning.sparsities: found []; schedule: custom and a list like",
    "ticket pruning.sparsities=[20, 0.5]": "pruning.sparsities.1: found 0.5; sparsity is in percent, so write 50",
    "ticket pruning.sparsities=[20, 50]": "pruning.sparsities: found [20.0, 50.0]; schedule: custom and a list",
    "ticket pruning.targets={fc: 0.3}": "pruning.targets.fc: found 0.3; sparsity is in percent, so write 30",
    "ticket pruning.rates={fc: 1.5}": "pruning.rates.fc: found 1.5; must be less than or equal to 1",
    "ticket pruning.rates={fc: half}": "pruning.rates.fc: found 'half'; must be a valid number",
    "ticket pruning.batches=0": "pruning.batches: found 0; must be greater than or equal to 1",
    "ticket pruning.granularity=layer": "pruning.granularity: found layer; a layer by itself is all or nothing",
    "ticket pruning.granularity=1:4": "pruning.sparsity: found 50; granularity 1:4 prunes 75 %, write that",
    "ticket pruning.granularity=4:4": "pruning.granularity: found 4:4; n of every m weights are kept, so n must be from 1 to m - 1",
    "ticket pruning.round_to=0": "pruning.round_to: found 0; must be greater than or equal to 1",
    "ticket rewind.retrain=rate": "rewind.retrain: found 'rate'; must be 'weights', 'lr' or 'finetune'",
    "ticket rewind.retrain=lr": "rewind.retrain: found lr; a constant learning rate cannot be rewound, this would be fine-tuning: use finetune",
    "ticket rewind.kept=redrawn": "rewind.kept: found 'redrawn'; must be one of rewind, redraw, shuffle, sign_constant",
    "ticket rewind.pruned=gone": "rewind.pruned: found 'gone'; must be one of zero, frozen",
    "ticket color=red": "color: unknown key; known keys: experiment, seed",
    "ticket experiment=baseline": "--set experiment: the experiment is chosen by the command",
    "ticket training.epochs": "--set: found 'training.epochs'; must be section.key=value",
    "ticket training.epochs=[": "--set training.epochs=[: line 1, column 2 not valid YAML",
    "compare compare.seeds=0": "compare.seeds: found 0; must be greater than or equal to 1",
    "compare compare.most_seeds=0": "compare.most_seeds: found 0; must be greater than or equal to 1",
    "compare compare.most_seeds=2": "compare.most_seeds: found 2; must be at least compare.seeds, which is 5",
    "compare compare.until_decided=1": "compare.until_decided: found 1; must be a valid boolean",
    "compare compare.until_decided=true": "compare.until_decided: found true; needs compare.most_seeds, the most seeds it may use",
    "compare compare.until_decided=true; compare.most_seeds=9; compare.arms=[dense]": "compare.until_decided: found true; needs the arms ticket and dense",
    "compare compare.arms=[best]": "compare.arms.0: found 'best'; must be one of dense, dense-budget",
    "compare compare.arms=[{criterion: snip}]": "compare.arms.0.name: is missing",
    "compare compare.arms=[{name: Snip}]": "compare.arms.0.name: found 'Snip'; must be like snip or snip-2, in small letters",
    "compare compare.arms=[{name: dense, criterion: snip}]": "compare.arms.0.name: found dense; an arm of that name exists: choose another",
    "compare compare.arms=[{name: a}, {name: a, order: 1}]": "compare.arms: found [{'name': 'a'}, {'name': 'a', 'order': 1}]; two arms are named a",
    "compare compare.arms=[{name: snip, criterium: snip}]": "compare.arms.0.criterium: unknown key; did you mean compare.arms.0.criterion?",
    "compare compare.arms=[{name: snip, criterion: snap}]": "compare.arms.0.criterion: found 'snap'; must be one of large_final",
    "compare compare.arms=[{name: snip, schedule: at_init}]": "compare.arms.0.criterion: found null; schedule: at_init needs one that says something before training: large_init",
    "compare compare.arms=[{name: a, schedule: dense, criterion: snip}]": "compare.arms.0.criterion: found snip; schedule: dense does not use it",
    "compare compare.arms=[{name: a, schedule: gradual, rewind: 1ep}]": "compare.arms.0.rewind: found 1ep; schedule: gradual does not use it",
    "compare compare.arms=[{name: a, rewind: soon}]": "compare.arms.0.rewind: found 'soon'; must be like 0ep, 1ep, 200it or compare.rewind",
    "compare compare.arms=[{name: a, order: 1, rewind: 1ep}]": "compare.arms.0.order: found 1; the states of level 0 are those of order 0",
    "compare compare.arms=[{name: a, against: b}]": "compare.arms: found a against b; must be another arm of compare.arms",
    "compare compare.arms=[dense, ticket, {name: a, against: random-mask}]": "compare.arms: found a against random-mask; must be another arm of compare.arms",
    "compare compare.arms=[{name: a, schedule: at_init, criterion: movement}]": "compare.arms.0.criterion: found movement; schedule: at_init needs one that says something before training: large_init",
    "compare compare.arms=[{name: a, against: a}]": "compare.arms: found a against a; must be another arm of compare.arms",
    "compare compare.arms=[{name: a, kept: shuffle, retrain: finetune}]": "compare.arms: found a; rewind.kept: found shuffle; the resets of Zhou",
    "compare compare.arms=[{name: a, granularity: layer}]": "compare.arms: found a; granularity: found layer; a layer by itself is all or nothing",
    "compare compare.primary=60": "compare.primary: found 60; must be one of compare.sparsities, [50, 80, 90, 95, 98]",
    "compare compare.sparsities=[0.5]": "compare.sparsities.0: found 0.5; sparsity is in percent, so write 50",
    "compare compare.prune_rate=100": "compare.prune_rate: found 100; must be less than 100",
    "compare compare.rewind=soon": "compare.rewind: found 'soon'; must be like 0ep, 1ep or 200it",
    "compare compare.splits=own": "compare.splits: found 'own'; must be 'shared' or 'per-seed'",
    "compare data.validation=80": "data.test: found 20; with validation: 80 no training images are left",
    "compare data.split_seed=9223372036854775807; compare.splits=per-seed": "data.split_seed: found 9223372036854775807; with 5 seeds the last would be above",
    "compare compare.margin=-1": "compare.margin: found -1; must be greater than or equal to 0",
    "prune pruning.begin=100": "pruning.begin: found 100; must be less than 100",
    "prune pruning.end=10": "pruning.end: found 10; must not be before begin, which is 20",
    "prune pruning.steps=0": "pruning.steps: found 0; must be greater than or equal to 1",
    "supermask rewind.pruned=frozen": "rewind.pruned: found frozen; with rewind.kept: rewind, kept and pruned",
    "prune pruning.protocol=frankle": "pruning.protocol: unknown key; it belongs to ticket and supermask and connectivity",
    "prune rewind.to=1ep": "rewind: unknown key; it belongs to ticket and supermask and connectivity",
    "supermask supermask.method=zhou": "supermask.method: found 'zhou'; must be one of lth, edge-popup, bernoulli",
    "supermask supermask.weights=kaiming_normal": "supermask.weights: found kaiming_normal; with method lth it must be initial or sign_constant",
    "supermask supermask.method=bernoulli; supermask.weights=initial": "supermask.weights: found initial; with method bernoulli it must be signed_constant or kaiming_normal",
    "supermask supermask.weights=sign_constant; rewind.kept=redraw": "supermask.weights: found sign_constant; rewind.kept chooses the weights already",
    "connectivity connectivity.rewind_points=[]": "connectivity.rewind_points: found []; must be a list of one",
    "connectivity connectivity.points=1.5": "connectivity.points: found 1.5; must be a valid integer",
    "connectivity rewind.to=0ep": "rewind.to: found 0ep; connectivity.rewind_points replaces it: leave it out",
    "supermask supermask.batch_norm=none": "supermask.batch_norm: found 'none'; must be 'recalibrate', 'initial'",
    "ticket rewind.retrain=lr; training.schedule=step; training.milestones=[]": "rewind.retrain: found lr; a constant",
    "ticket rewind.retrain=lr; training.schedule=cosine; training.final=1": "rewind.retrain: found lr; a constant",
    "ticket pruning.granularity='2:4'": "pruning.steps: found 3; granularity 2:4 prunes whole weights of every 4",
    "ticket rewind.to=1ep; training.schedule=cosine": "rewind.train: found full; a level rewound into the training",
    "ticket rewind.kept=redraw; rewind.to=1ep": "rewind.kept: found redraw; the resets of Zhou et al. start from",
    "ticket rewind.pruned=frozen; rewind.retrain=finetune": "rewind.pruned: found frozen; the resets of Zhou",
    "ticket rewind.pruned=frozen; pruning.granularity=filter": "rewind.pruned: found frozen; granularity filter",
    "ticket pruning.context=global; pruning.targets={fc: 20}": "pruning.targets: found {'fc': 20.0}; context: global",
    "ticket pruning.sparsity=0; pruning.targets={fc: 20}": "pruning.targets: found {'fc': 20.0}; they follow",
    "compare pruning.context=global; pruning.rates={fc: 0.5}": "pruning.rates: found {'fc': 0.5}; context: global ranks",
    "ticket pruning.targets={fc: 20}; pruning.rates={fc: 0.5}": "pruning.rates: found {'fc': 0.5}; targets say where",
    "prune pruning.schedule=dsd; pruning.rates={fc: 0.5}": "pruning.rates: found {'fc': 0.5}; they say how fast layers",
    "ticket pruning.granularity=2:4; pruning.rates={fc: 0.5}": "pruning.granularity: found 2:4; it fixes every block",
    "ticket pruning.granularity=2:4; pruning.context=global": "pruning.granularity: found 2:4; it fixes every block",
    "ticket pruning.granularity=2:4; pruning.round_to=8": "pruning.granularity: found 2:4; it fixes every block",
    "ticket pruning.schedule=custom; pruning.sparsities=[50, 20]": "pruning.sparsities: found [50.0, 20.0]; must not fall",
    "ticket pruning.protocol=fasterai; rewind.retrain=finetune": "rewind.retrain: found finetune; the fasterai protocol",
    "ticket pruning.protocol=fasterai; rewind.kept=shuffle": "rewind.kept: found shuffle; the fasterai protocol",
    "ticket pruning.protocol=fasterai; rewind.train=remaining": "rewind.train: found remaining; the fasterai protocol never resets the step count",
    "supermask supermask.method=edge-popup; training=5": "training: found 5; must be a section of keys",
    "supermask supermask.method=bernoulli; pruning.sparsity=30": "pruning.sparsity: found 30; the sparsity of a bernoulli mask is a result",
    "baseline pruning.sparsity=30": "pruning: unknown key; it belongs to ticket and prune and supermask",
    "compare compare.at_most=20": "compare.at_most: unknown key; it is called compare.prune_rate since format 2",
}
for method in LEARNED:
    for setting in (
        "pruning.steps=3",
        "pruning.criterion=snip",
        "rewind.to=0ep",
        "pruning.granularity=filter",
        "rewind.kept=redraw",
    ):
        key, _, value = setting.partition("=")
        WRONG[f"supermask supermask.method={method}; {setting}"] = (
            f"{key}: found {value}; method {method} learns its mask and does not use it"
        )


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_setting_is_one_line_with_what_would_be_right(case: str):
    experiment, _, settings = case.partition(" ")
    with pytest.raises(UserError) as error:
        load_config(None, experiment, settings.split("; "))
    message = str(error.value)
    assert message.startswith(WRONG[case]) and "\n" not in message


def test_every_key_has_a_wrong_case():
    keys = {setting.partition("=")[0] for case in WRONG for setting in case.partition(" ")[2].split("; ")}
    paths = {path for own in KEYS.values() for path in own}
    assert {path for path in paths if not any(other.startswith(f"{path}.") for other in paths)} <= keys


@pytest.mark.parametrize("setting", ["pruning.types=[pool]", "connectivity.rewind_points=[1]"])
def test_a_wrong_item_of_a_list_is_one_fault(setting: str):
    with pytest.raises(UserError) as error:
        load_config(None, "connectivity", [setting])
    assert str(error.value).count("found") == 1


@given(st.sampled_from(KEYS["ticket"]), st.data())
def test_a_misspelled_key_suggests_the_right_one(key: str, data: st.DataObject):
    section, _, name = key.rpartition(".")
    place = data.draw(st.integers(0, len(name) - 1))
    wrong = name[:place] + name[place + 1 :]  # one letter lost
    siblings = [k.rpartition(".")[2] for k in KEYS["ticket"] if k.rpartition(".")[0] == section]
    if wrong in siblings or not wrong or difflib.get_close_matches(wrong, siblings, n=1) != [name]:
        return
    path = f"{section}.{wrong}" if section else wrong
    with pytest.raises(UserError) as error:
        load_config(None, "ticket", options={path: 1})
    assert f"{path}: unknown key; did you mean {key}?" in str(error.value)
