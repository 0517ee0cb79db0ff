"""What a user reads about one fault: where, what was given, what is allowed, what was probably meant."""

import pytest

from transferkit.errors import NOTHING, Problem, RecipeError

# Change of the sound recipe, key path, and what is said there.
WRONG_TYPES = [
    ("model.backbone=3", "model.backbone", "3 must be text; put it in quotes"),
    ("model.backbone=true", "model.backbone", "true must be text; put it in quotes"),
    ("model.backbone=", "model.backbone", "null must be text"),
    ("model=vgg16", "model", "'vgg16' must be a mapping of keys"),
    ("model.head=[1]", "model.head", "[1] must be a mapping of keys"),
    ("data=", "data", "null must be a mapping of keys"),
    ("seed='3'", "seed", "'3' must be a whole number; take away the quotes"),
    ("seed=1.0", "seed", "1.0 must be a whole number: 1"),
    ("seed=0.5", "seed", "0.5 must be a whole number"),
    ("seed=true", "seed", "true must be a whole number"),
    ("phases[0].epochs=ten", "phases[0].epochs", "'ten' must be a whole number"),
    ("phases[0].learning_rate=true", "phases[0].learning_rate", "true must be a number"),
    ("phases[0].learning_rate='1e-3'", "phases[0].learning_rate", "'1e-3' must be a number; take away the quotes"),
    ("phases[0].learning_rate=1e-3x", "phases[0].learning_rate", "'1e-3x' must be a number"),
    ("phases[0].augment=no", "phases[0].augment", "'no' must be true or false"),
    ("phases[0].augment=0", "phases[0].augment", "0 must be true or false"),
    ("phases[0].views=true", "phases[0].views", "true must be a whole number"),
    ("phases[0].ema=true", "phases[0].ema", "true must be a number"),
    ("runtime.recompute=1", "runtime.recompute", "1 must be true or false"),
    ("cache=disk", "cache", "'disk' must be a mapping of keys"),
    ("cache.folder=3", "cache.folder", "3 must be text; put it in quotes"),
    ("checkpoint=1 epoch", "checkpoint", "'1 epoch' must be a mapping of keys"),
    ("phases[0].early_stopping=3", "phases[0].early_stopping", "3 must be a mapping of keys"),
    ("model.head.hidden=256", "model.head.hidden", "256 must be a list: [256]"),
    ("model.head.hidden=[1, true]", "model.head.hidden[1]", "true must be a whole number"),
    ("evaluate=test", "evaluate", "'test' must be a list: ['test']"),
    ("augment={flip: horizontal}", "augment", "{'flip': 'horizontal'} must be a list"),
    ("augment=", "augment", "null must be a list"),
    ("phases={name: a}", "phases", "{'name': 'a'} must be a list"),
    ("phases=3", "phases", "3 must be a list"),
    ("phases[0]=head", "phases[0]", "'head' must be a mapping of keys"),
]
OUT_OF_RANGE = [
    ("seed=-1", "seed", "-1 must be at least 0"),
    ("seed=2147483648", "seed", "2147483648 must be less than 2147483648"),
    ("seed=0x1" + "0" * 5000, "seed", "a very long number must be less than 2147483648"),
    ("name=''", "name", "'' must not be empty"),
    ("data.source={folder: ''}", "data.source.folder", "'' must not be empty"),
    ("data.image_size=0", "data.image_size", "0 must be greater than 0"),
    ("data.image_size=5000", "data.image_size", "5000 must be at most 4096"),
    ("data.batch_size=100000", "data.batch_size", "100000 must be at most 65536"),
    ("data.split.validation=0", "data.split.validation", "0 must be greater than 0"),
    ("data.split.validation=20", "data.split.validation", "20 must be less than 1"),
    ("data.split.test=-0.1", "data.split.test", "-0.1 must be at least 0"),
    ("model.head.dropout=1", "model.head.dropout", "1 must be less than 1"),
    ("model.head.hidden=[0]", "model.head.hidden[0]", "0 must be greater than 0"),
    ("augment[1].rotate=200", "augment[1].rotate", "200 must be at most 180"),
    ("phases[0].epochs=1000000", "phases[0].epochs", "1000000 must be at most 100000"),
    ("phases[0].learning_rate=0", "phases[0].learning_rate", "0 must be greater than 0"),
    ("phases[0].learning_rate=.nan", "phases[0].learning_rate", "nan must be a finite number"),
    ("phases[0].learning_rate=1e999", "phases[0].learning_rate", "inf must be a finite number"),
    ("phases[0].clip_norm=-.inf", "phases[0].clip_norm", "-inf must be a finite number"),
    ("phases[0].train={last_stages: 0}", "phases[0].train.last_stages", "0 must be greater than 0"),
    ("phases[1].schedule={cosine: {final: 1}}", "phases[1].schedule.cosine.final", "1 must be less than 1"),
    ("loss={cross_entropy: {label_smoothing: 1}}", "loss.cross_entropy.label_smoothing", "1 must be less than 1"),
    ("phases=[]", "phases", "[] must have 1 or more entries"),
    ("phases[0].l2_sp=-1", "phases[0].l2_sp", "-1 must be at least 0"),
    ("phases[0].layer_decay=0", "phases[0].layer_decay", "0 must be greater than 0"),
    ("phases[0].layer_decay=1.1", "phases[0].layer_decay", "1.1 must be at most 1"),
    ("phases[0].ema=0", "phases[0].ema", "0 must be greater than 0"),
    ("phases[0].ema=1", "phases[0].ema", "1 must be less than 1"),
    ("phases[0].views=0", "phases[0].views", "0 must be greater than 0"),
    ("phases[0].views=1001", "phases[0].views", "1001 must be at most 1000"),
    ("runtime.gradient_accumulation_steps=0", "runtime.gradient_accumulation_steps", "0 must be greater than 0"),
    ("runtime.gradient_accumulation_steps=1025", "runtime.gradient_accumulation_steps", "1025 must be at most 1024"),
    ("cache.max_gb=0", "cache.max_gb", "0 must be greater than 0"),
    ("cache.max_gb=.inf", "cache.max_gb", "inf must be a finite number"),
    ("cache.folder=''", "cache.folder", "'' must not be empty"),
]
UNKNOWN_NAMES = [
    ("augment[0]=flipp", "augment[0]", "'flipp' is not the name of an augmentation; did you mean 'flip'?"),
    ("augment[0]={flip: sideways}", "augment[0].flip", "'sideways' is not allowed"),
    ("data.source=foldr", "data.source", "'foldr' is not the name of a source; did you mean 'folder'?"),
    ("data.source={data_dir: x, tdfs: y}", "data.source", "'tdfs' is not the name of a source; did you mean 'tfds'?"),
    ("data.resize=cropp", "data.resize", "'cropp' is not allowed; did you mean 'crop'?"),
    ("loss=crossentropy", "loss", "'crossentropy' is not the name of a loss; did you mean 'cross_entropy'?"),
    ("monitor=accuracy", "monitor", "'accuracy' is not allowed; did you mean 'val_accuracy'?"),
    ("evaluate=[train]", "evaluate[0]", "'train' is not allowed"),
    (
        "phases[0].train=last_stage",
        "phases[0].train",
        "'last_stage' is not the name of a freeze policy; did you mean 'last_stages'?",
    ),
    ("phases[0].schedule=cosin", "phases[0].schedule", "'cosin' is not the name of a schedule; did you mean 'cosine'?"),
    (
        "phases[0].optimizer=adamm",
        "phases[0].optimizer",
        "'adamm' is not the name of an optimizer; did you mean 'adam'?",
    ),
    (
        "phases[0].optimizer={name: sdg}",
        "phases[0].optimizer",
        "'sdg' is not the name of an optimizer; did you mean 'sgd'?",
    ),
    ("phases[0].batch_norm=freeze", "phases[0].batch_norm", "'freeze' is not allowed; did you mean 'frozen'?"),
    ("runtime.precision=float16", "runtime.precision", "'float16' is not allowed; did you mean 'float32'?"),
    ("runtime.backend=torch", "runtime.backend", "'torch' is not allowed"),
    ("runtime.strategy=miror", "runtime.strategy", "'miror' is not allowed; did you mean 'mirrored'?"),
    ("runtime.xla=true", "runtime.xla", "true is not allowed"),
    ("cache.features=nine", "cache.features", "'nine' is not allowed; did you mean 'none'?"),
    ("cache.precision=bfloat16", "cache.precision", "'bfloat16' is not allowed; did you mean 'float16'?"),
    ("phases[0].decay=kernel", "phases[0].decay", "'kernel' is not allowed; did you mean 'kernels'?"),
]
UNKNOWN_KEYS = [
    ("modle.backbone=vgg16", "", "'modle' is not a key here; did you mean 'model'?"),
    ("model.head.droput=0.1", "model.head", "'droput' is not a key here; did you mean 'dropout'?"),
    ("phases[1].learning_rat=1", "phases[1]", "'learning_rat' is not a key here; did you mean 'learning_rate'?"),
    ("data.source={tfds: a, datadir: b}", "data.source", "'datadir' is not a key here; did you mean 'data_dir'?"),
    (
        "data.source={tfds: {name: a, datadir: b}}",
        "data.source.tfds",
        "'datadir' is not a key here; did you mean 'data_dir'?",
    ),
    (
        "data.source={tfds: a, splits: {trian: x}}",
        "data.source.splits",
        "'trian' is not a key here; did you mean 'train'?",
    ),
    ("augment[1]={rotate: 3, by: 4}", "augment[1]", "'by' is not a key here"),
    ("augment[1]={rotate: {degrees: 3, kind: zoom}}", "augment[1]", "'kind' is not a key here"),
    (
        "loss={cross_entropy: {smoothing: 0.1}}",
        "loss.cross_entropy",
        "'smoothing' is not a key here; did you mean 'label_smoothing'?",
    ),
    ("phases[0].optimizer={name: sgd, beta_1: 0.9}", "phases[0].optimizer", "'beta_1' is not a key here"),
    ("batch_size=8", "", "'batch_size' is not a key here; it belongs to data"),
    ("phases[0].dropout=0.5", "phases[0]", "'dropout' is not a key here; it belongs to model.head"),
    ("weight_decay=0.1", "", "'weight_decay' is not a key here; it belongs to model.head or phases"),
    ("model.seed=1", "model", "'seed' is not a key here; it belongs to the top level"),
    ("views=3", "", "'views' is not a key here; it belongs to phases"),
    ("every=10min", "", "'every' is not a key here; it belongs to checkpoint"),
    ("runtime.max_gb=3", "runtime", "'max_gb' is not a key here; it belongs to cache"),
    ("folder=photos", "", "'folder' is not a key here; it belongs to data.source or cache"),
    ("flip=horizontal", "", "'flip' is not a key here; it belongs to augment"),
    ("phases[0].cosine={final: 0.1}", "phases[0]", "'cosine' is not a key here; it belongs to phases.schedule"),
    ("checkpoint.evry=3", "checkpoint", "'evry' is not a key here; did you mean 'every'?"),
    ("phases[0].patience=1", "phases[0]", "'patience' is not a key here; it belongs to phases.early_stopping"),
    ("data.split.train=0.8", "data.split", "'train' is no key: what validation and test leave over trains"),
]
A_FOLD = (
    "must be <number>/<count>, such as 2/5 for the second of five; the number is at most the count, and the count at "
    "least 2"
)
A_SPAN = "must be a whole number of s, min, h, steps or epochs, such as 10min, 200 steps or 1 epoch"
AN_OPTIMIZER = "must be an optimizer's name, or its name and parameters, as in {name: sgd, momentum: 0.9}"
FORMS = [
    ("phases[0].train=last_stages", "phases[0].train", "'last_stages' needs its count, as in {last_stages: <count>}"),
    (
        "phases[0].train={last_stages: }",
        "phases[0].train",
        "'last_stages' needs its count, as in {last_stages: <count>}",
    ),
    ("augment=[rotate]", "augment[0]", "'rotate' needs its degrees, as in {rotate: <degrees>}"),
    ("phases[0].train={gradual: {first: 1}}", "phases[0].train.gradual", "'every_epochs' is missing"),
    ("phases[0].train={head: 3}", "phases[0].train", "'head' takes no parameters; write head alone"),
    (
        "phases[0].train={pattern: '('}",
        "phases[0].train.pattern",
        "'(' is not a regular expression: missing ), unterminated subpattern at position 0",
    ),
    (
        "phases[0].train={pattern: 'a{99999999999}'}",
        "phases[0].train.pattern",
        "'a{99999999999}' is not a regular expression: the repetition number is too large",
    ),
    (
        "data.source={folder: a, tfds: b}",
        "data.source",
        "{'folder': 'a', 'tfds': 'b'} names folder and tfds, but only one of them can stand here; "
        "to put one in the place of another set the whole, as in {tfds: …}",
    ),
    ("data.source={}", "data.source", "{} must be the name of a source, or its name and parameters"),
    ("augment=[3]", "augment[0]", "3 must be the name of an augmentation, or its name and parameters"),
    ("augment[1]={rotate: 3, degrees: 4}", "augment[1]", "'rotate' gets degrees twice"),
    ("augment[1]={rotate: {degrees: 3}, degrees: 4}", "augment[1]", "'rotate' gets degrees twice"),
    ("phases[0].optimizer=", "phases[0].optimizer", f"null {AN_OPTIMIZER}"),
    ("phases[0].optimizer={momentum: 0.9}", "phases[0].optimizer", "{'momentum': 0.9} " + AN_OPTIMIZER),
    ("phases[0].ramp_epochs=11", "phases[0].ramp_epochs", "11 must lie between 0 and epochs (10)"),
    ("name=a/b", "name", "'a/b' may hold letters, digits, '_', '-' and '.' only, since it begins a folder's name"),
    ("evaluate=[test, test]", "evaluate", "['test', 'test'] names a split twice"),
    ("checkpoint.every=3", "checkpoint.every", f"3 {A_SPAN}"),
    ("checkpoint.every=", "checkpoint.every", f"null {A_SPAN}"),
    ("checkpoint.every=often", "checkpoint.every", f"'often' {A_SPAN}"),
    ("checkpoint.every=0 steps", "checkpoint.every", f"'0 steps' {A_SPAN}"),
    ("checkpoint.every=1.5h", "checkpoint.every", f"'1.5h' {A_SPAN}"),
    ("checkpoint.every=10 m", "checkpoint.every", f"'10 m' {A_SPAN}"),
]
DATA_KEYS = [
    ("data.source=csv", "data.source", "'csv' needs its path, as in {csv: <path>}"),
    ("data.source={archive: photos.zip}", "data.source.archive", "'photos.zip' must begin with http:// or https://"),
    (
        "data.source={archive: https://a/b.zip, sha256: abc}",
        "data.source.sha256",
        "'abc' must be 64 digits, 0–9 and a–f",
    ),
    ("data.source={tfds: a, try_gcs: 1}", "data.source.try_gcs", "1 must be true or false"),
    ("data.split.fold=3", "data.split.fold", f"3 {A_FOLD}"),
    ("data.split.fold=two/5", "data.split.fold", f"'two/5' {A_FOLD}"),
    ("data.split.fold=0/5", "data.split.fold", f"'0/5' {A_FOLD}"),
    ("data.split.fold=6/5", "data.split.fold", f"'6/5' {A_FOLD}"),
    ("data.split.fold=1/1", "data.split.fold", f"'1/1' {A_FOLD}"),
    ("data.split.group='('", "data.split.group", "'(' is no pattern: missing ), unterminated subpattern"),
    ("data.class_names=[a]", "data.class_names", "['a'] must have 2 or more entries"),
    ("data.rename=[a]", "data.rename", "['a'] must be a mapping of keys"),
    ("data.merge={a: b}", "data.merge.a", "'b' must be a list: ['b']"),
    (
        "data.imbalance=weights",
        "data.imbalance",
        "'weights' is not the name of a way to balance classes; did you mean 'class_weight'?",
    ),
    ("loss={focal: {gamma: 0}}", "loss.focal.gamma", "0 must be greater than 0"),
]


@pytest.mark.parametrize(
    ("change", "path", "said"),
    WRONG_TYPES + OUT_OF_RANGE + UNKNOWN_NAMES + UNKNOWN_KEYS + FORMS + DATA_KEYS,
    ids=lambda value: value[:60],
)
def test_a_fault_is_told_at_its_key_in_plain_words(complaints, base, change, path, said):
    place = f"--set, {path}" if path else "--set"

    assert complaints(base, change) == [f"{place}: {said}"]


def test_missing_keys_are_told_one_by_one_at_the_entry_that_lacks_them(complaints, base):
    assert complaints(base + "  - augment: false\n") == [
        "line 24, phases[2]: 'name' is missing",
        "line 24, phases[2]: 'train' is missing",
        "line 24, phases[2]: 'epochs' is missing",
        "line 24, phases[2]: 'learning_rate' is missing",
    ]


def test_a_fault_in_a_file_has_the_line_of_its_key(complaints, base):
    assert complaints(base.replace("pooling: avg", "pooling: [\n    avg]")) == [
        "line 9, model.head.pooling: ['avg'] is not allowed"
    ]


@pytest.mark.parametrize(
    ("change", "allowed"),
    [
        ("phases[0].train=haed", "head, last_stages, from_layer, pattern, all, gradual, bias, norm"),
        ("data.source=x", "folder, archive, csv, jsonl, parquet, tfds, arrays, sample"),
        ("data.source=", "folder, archive, csv, jsonl, parquet, tfds, arrays, sample"),
        ("model.head.x=1", "pooling, hidden, dropout, weight_decay"),
        ("augment[1].rotate.x=1", "degrees"),
        ("data.source={tfds: a, x: b}", "name, data_dir, splits, try_gcs"),
        ("phases[0].early_stopping=3", "patience"),
        ("phases[0].optimizer={name: sgd, x: 1}", "name, momentum, nesterov"),
        ("runtime.precision=x", "auto, float32, mixed_float16, mixed_bfloat16"),
    ],
)
def test_what_is_allowed_stands_below(load, base, change, allowed):
    with pytest.raises(RecipeError) as caught:
        load(base, change)

    assert str(caught.value).endswith(f"\n    allowed: {allowed}")


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (None, "null"),
        (True, "true"),
        ([False, None], "[false, null]"),
        ("\x1b[31m", r"'\x1b[31m'"),
        ("x" * 500, f"'{'x' * 27}...{'x' * 28}'"),
        ({"a": {"b": [1, 2, 3, 4, 5, 6, 7, 8]}}, "{'a': {'b': [1, 2, 3, 4, 5, 6, ...]}}"),
        (10**5000, "a very long number"),
    ],
    ids=["null", "bool", "list", "escape", "text", "mapping", "number"],
)
def test_a_given_value_is_shown_as_yaml_on_one_line(given, shown):
    assert str(Problem("a", given, "is wrong")) == f"a: {shown} is wrong"


def test_a_problem_without_a_given_value_is_a_sentence_of_its_own():
    assert str(Problem("a.b", NOTHING, "'c' is missing", where="line 3")) == "line 3, a.b: 'c' is missing"


def test_only_text_is_guessed():
    assert Problem("a", "resnet5", "is unknown", ("resnet50", "vgg16")).guess == "resnet50"
    assert Problem("a", "alexnet", "is unknown", ("resnet50", "vgg16")).guess is None
    assert Problem("a", 50, "is unknown", ("50",)).guess is None
