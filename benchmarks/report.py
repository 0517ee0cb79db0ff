"""`benchmarks/RESULTS.md` from the figures in `benchmarks/results/`.

python benchmarks/report.py
"""

import json
from pathlib import Path

FOLDER = Path(__file__).parent
ABOUT = {
    "against_keras_warm_up": "Warm-up against the plain Keras loop",
    "against_keras_last_stage": "Warm-up, then the last stage, against the plain Keras loop",
    "against_keras_everything": "Everything unfrozen, ResNet50 at 224 px: our epoch's time over the plain loop's",
    "against_keras_step": "Everything unfrozen, ResNet50 at 96 px: our epoch's time over the plain loop's",
    "against_keras_accuracy": "Accuracy against the plain Keras loop",
    "extraction": "Extraction of features against the bare forward pass",
    "growth": "More pictures",
    "against_torch": "The same fine-tune in PyTorch",
    "views": "Stored augmented views against fresh augmentation",
    "head": "Training of a head on stored features",
    "data": "Pictures from files to batches, against image_dataset_from_directory",
    "memory": "Memory of a step",
    "soak": "Runs that are killed at random moments",
    "doctor": "Doctor on many small pictures",
    "label_noise": "Wrong labels that are found",
}
NOTES = {
    "against_keras_last_stage": "Fewer pictures than above, to save time; what is done once weighs more with few.",
    "against_keras_accuracy": "Each phase has that many epochs. The differences are a few validation pictures: noise.",
    "views": "Seconds are those of the epochs. Without augmentation the one pass over the pictures comes before "
    "them and is not in it. With 97 test pictures an accuracy of 80 % is known to 4 points.",
    "data": "A first epoch cannot be much quicker: of a large photo the Huffman code has to be read whole at any "
    "scale, and that alone takes two thirds of Keras' time; of a small one the decoder and an antialiased filter take "
    "one and a half times of Keras', which has no such filter and takes single pixels.",
    "memory": "Frozen layers keep nothing for the backward pass, here as there. What we take beyond plain Keras is "
    "copies of the trained weights: those of the start, of the best epoch and of the epoch's begin, and the checkpoint "
    "that is written, with the optimizer's state; beside an accelerator they lie in the host's memory.",
    "soak": "`starts`: how often a run was started until it ended; `equal`: compared with the undisturbed run.",
}
MACHINE = ("machine", "cores", "load before", "keras", "tensorflow", "numpy", "python")


def main() -> None:
    lines = [
        "# Results",
        "",
        "Written by `python benchmarks/report.py` from `benchmarks/results/`. A section's command gives its figures",
        "on your machine. Ratios come from one run with the two sides in turn; times depend on the machine.",
        "",
    ]
    for name, title in ABOUT.items():
        file = FOLDER / "results" / f"{name}.json"
        if not file.is_file():
            continue
        figures = json.loads(file.read_text())
        machine = ", ".join(f"{key} {figures.pop(key)}" for key in MACHINE if key in figures)
        lines += [f"## {title}", "", "```text", figures.pop("command"), "```", ""]
        lines += [line for key, value in figures.items() for line in rows(key, value)]
        lines += ["", NOTES[name]] if name in NOTES else []
        lines += ["", f"{machine}", ""]
        if (FOLDER / "results" / f"{name}.png").is_file():
            lines += [f"![{title}](results/{name}.png)", ""]
    (FOLDER / "RESULTS.md").write_text("\n".join(lines))


def rows(key: str, value: object) -> list[str]:
    """Markdown of one figure; lists of mappings and mappings of mappings as tables."""
    if isinstance(value, dict) and value and all(isinstance(one, dict) for one in value.values()):
        value = [{key: name, **one} for name, one in value.items()]
    if isinstance(value, list) and value and isinstance(value[0], dict):
        heads = list(value[0])
        table = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
        body = [f"| {' | '.join(str(row[head]) for head in heads)} |" for row in value]
        return ["", f"{key}:", "", *table, *body, ""]
    text = ", ".join(map(str, value)) if isinstance(value, list) else value
    return [f"- {key}: {text}"]


if __name__ == "__main__":
    main()
