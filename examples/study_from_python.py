"""Run a study from Python, and read its answer. Takes about a minute on two cores.

It is `lthrun compare` with small settings: the same directory, page and cached levels. Run it again, and it shows the
finished study; raise compare.seeds, and only the new seeds are trained.
"""

# %% The settings: a shipped config, and what differs from it, by key.
import lthrun

settings = {
    "model.name": "resnet20",
    "data.image_size": 16,
    "training.epochs": 1,
    "compare.arms": ["dense", "ticket", "random-mask"],
    "compare.seeds": 3,
    "compare.rewind": "0ep",
}
config = lthrun.load_config("smoke/compare", **settings)

# %% The study. It shows what the command shows; with `emit=` it is silent, and every event is passed to your function.
study = lthrun.run(config, out="runs/examples")

# %% The answer: typed, and the same as in summary.json.
summary = study.summary
print(summary.question)
print(*summary.verdict.sentences)
for comparison in summary.comparisons:
    if comparison.interval is not None:
        low, high = comparison.interval
        print(
            f"{comparison.arm} - {comparison.against}, {comparison.measure}: {comparison.mean:+.2f} "
            f"({low:+.2f} to {high:+.2f}) {comparison.unit}, n = {comparison.n}: {comparison.word}"
        )

# %% Every epoch of every training, for figures of your own.
last = [line["accuracy"] for line in study.metrics if line["arm"] == "ticket"]
print(f"validation accuracies of the ticket: {', '.join(f'{accuracy:.3f}' for accuracy in last)}")
print(f"the page: {study.run_dir}/report.html")
