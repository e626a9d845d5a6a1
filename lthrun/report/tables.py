"""Tables and words, drawn from records alone."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from rich import box
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from lthrun.errors import escape_unprintable
from lthrun.report.wording import beside_chance, beside_majority


def closing(summary: dict[str, Any]) -> Iterable[Any]:
    """The table of levels, sparsity per layer, and the panel."""
    yield ""
    yield level_table(summary)
    if summary["sparsity"] > 0:
        yield layer_table(summary["levels"][-1]["layers"])
    yield panel(summary)


def plain_table(title: str, **how: Any) -> Table:
    return Table(
        title=Text(title, "bold"),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
        **how,
    )


def level_table(summary: dict[str, Any]) -> Table:
    table = plain_table("Levels (accuracy after the last epoch, in %, with 95 % interval)")
    for heading in ("level", "sparsity %", "accuracy", "balanced", "best look", "time"):
        table.add_column(heading, justify="right")
    table.add_column("")
    for level in summary["levels"]:
        table.add_row(
            str(level["level"]),
            f"{level['sparsity']:.2f}",
            with_interval(level["accuracy"], level["accuracy_interval"]),
            with_interval(level["balanced_accuracy"], level["balanced_accuracy_interval"]),
            f"{100 * level['best_accuracy']:.1f} of {level['epochs']}",
            clock(level["seconds"]),
            "taken over" if level["reused"] else "",
        )
    return table


def layer_table(layers: dict[str, Sequence[int]]) -> Table:
    table = plain_table("Pruned weights per layer, counted at the end", show_footer=True)
    zero, total = (sum(column) for column in zip(*layers.values(), strict=True))
    table.add_column("layer", "all", no_wrap=True)
    table.add_column("pruned", f"{zero:,}", justify="right")
    table.add_column("of", f"{total:,}", justify="right")
    table.add_column("sparsity %", f"{100 * zero / total:.2f}", justify="right")
    for name, (count, of) in layers.items():
        table.add_row(name.removesuffix(".weight"), f"{count:,}", f"{of:,}", f"{100 * count / of:.2f}")
    return table


def panel(summary: dict[str, Any]) -> Panel:
    rows = Table.grid(padding=(0, 2))
    mask = summary.get("supermask")
    if mask:
        add_supermask(rows, summary, mask)
    if not mask or mask["method"] == "lth":
        if mask:
            rows.add_row("", "")
            rows.add_row("ticket", "the same mask, trained from the rewind point")
        add_accuracy(rows, summary, summary)
    add_run(rows, summary)
    return Panel(rows, title=what(summary), title_align="left", expand=False, padding=(1, 2))


def add_run(rows: Table, summary: dict[str, Any]) -> None:
    """Sparsity, time and place of a run."""
    total = sum(of for _, of in summary["levels"][-1]["layers"].values())
    frozen = ", frozen at their initial values" if summary["differs"].get("rewind.pruned") == "frozen" else ""
    rows.add_row("sparsity", f"{summary['sparsity']:.2f} % of {total:,} prunable weights{frozen}")
    rows.add_row(
        "training time",
        f"{clock(summary['seconds'])} on {summary['device']} in {summary['precision']}, seed {summary['seed']}",
    )
    rows.add_row("", Text("one seed: the intervals speak of other images, not of other seeds", "dim"))
    reused = sum(level["reused"] for level in summary["levels"])
    if reused:
        rows.add_row("taken over", f"{reused} of {plural(len(summary['levels']), 'level')}")
    rows.add_row("everything is in", Text(summary["run_dir"], overflow="fold"))


def add_supermask(rows: Table, summary: dict[str, Any], mask: dict[str, Any]) -> None:
    """A mask on untrained weights beside what it has to beat, and whether it does."""
    rows.add_row("supermask", Text(f"{mask['method']}, on weights never trained; batch norm: {mask['batch_norm']}"))
    if "weights_unchanged" in mask:
        same = mask["weights_unchanged"]
        said = "bit-identical to initialisation after training" if same else "CHANGED in training: this is a fault"
        rows.add_row("weights", Text(said, "green" if same else "red"))
    add_accuracy(rows, summary, mask)
    for level in mask.get("levels", [])[:-1]:
        rows.add_row(f"at {level['sparsity']:.2f} %", accuracies(level))
    if "sampled" in mask:
        rows.add_row(f"{mask['sampled']['n']} sampled masks", ranges(mask["sampled"]))
    rows.add_row("untrained, dense", accuracies(mask["dense"]))
    rows.add_row(f"{mask['random']['n']} random masks", ranges(mask["random"]))
    rows.add_row("", Text(beside_chance(summary, mask), "green" if mask["better_than_chance"] else "yellow"))


def accuracies(found: dict[str, Any]) -> str:
    return f"accuracy {100 * found['accuracy']:.1f} %, balanced {100 * found['balanced_accuracy']:.1f} %"


def ranges(found: dict[str, Any]) -> str:
    """Mean and range of several masks."""
    parts = []
    for word, key in (("accuracy", "accuracy"), ("balanced", "balanced_accuracy")):
        mean, low, high = (100 * found[key][which] for which in ("mean", "lowest", "highest"))
        parts.append(f"{word} {mean:.1f} % ({low:.1f} to {high:.1f})")
    return ", ".join(parts)


def add_accuracy(rows: Table, summary: dict[str, Any], found: dict[str, Any]) -> None:
    most_common = f"{100 * summary['majority_rate']:.1f} % (always answering the most common class)"
    low, high = found["accuracy_interval"]
    rows.add_row(
        "accuracy",
        f"{with_interval(found['accuracy'], (low, high))} % with 95 % interval, n = {summary['n_valid']:,}",
    )
    rows.add_row(
        "balanced accuracy",
        f"{with_interval(found['balanced_accuracy'], found['balanced_accuracy_interval'])} % "
        f"(chance: {100 / len(summary['classes']):.0f})",
    )
    rows.add_row("majority rate", most_common)
    word = beside_majority((low, high), summary["majority_rate"])
    rows.add_row("", Text(f"accuracy is {word} the majority rate", "green" if word == "above" else "yellow"))


def one_line(summary: dict[str, Any]) -> str:
    found = summary.get("supermask") or summary
    return (
        f"{summary['experiment']}: accuracy {with_interval(found['accuracy'], found['accuracy_interval'])} %, "
        f"balanced {100 * found['balanced_accuracy']:.1f} %, majority rate {100 * summary['majority_rate']:.1f} %, "
        f"sparsity {summary['sparsity']:.2f} %, {summary['run_dir']}"
    )


def runs_table(summaries: Sequence[dict[str, Any]], out: str) -> Table:
    """The runs so far; a supermask's row shows the supermask."""
    rates = sorted({f"{100 * summary['majority_rate']:.1f}" for summary in summaries})
    table = plain_table(f"Runs in {out} (accuracy in %, with 95 % interval; majority rate {' or '.join(rates)} %)")
    table.add_column("when", no_wrap=True)
    table.add_column("what", overflow="fold", min_width=14)
    for heading in ("seed", "sparsity", "accuracy"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("directory", overflow="fold")
    for summary in summaries:
        found = summary.get("supermask") or summary
        table.add_row(
            f"{datetime.fromtimestamp(summary['finished']):%d %b %H:%M}",
            Text(what(summary)),
            str(summary["seed"]),
            f"{summary['sparsity']:.2f} %",
            with_interval(found["accuracy"], found["accuracy_interval"]),
            Text(escape_unprintable(summary["run_dir"].rpartition("/")[2])),
        )
    return table


def leftovers_table(found: Sequence[tuple[str, str, int]], out: str) -> Table:
    """What `lthrun runs clean` would remove: name, why, bytes."""
    table = plain_table(f"Needed by no run that is kept, in {out}/levels", show_header=False)
    for name, why, size in [*found, ("all", "", sum(size for _, _, size in found))]:
        table.add_row(Text(name), why, megabytes(size))
    return table


def what(summary: dict[str, Any]) -> str:
    """The experiment, with what sets it apart from its defaults: `ticket 1ep fasterai steps=5`."""
    plain = {"rewind.to", "pruning.protocol", "supermask.method", "model.name", "data.dataset"}
    differs = {key: value for key, value in summary["differs"].items() if key != "training.epochs"}
    words = [str(v) if key in plain else f"{key.rpartition('.')[2]}={v}" for key, v in differs.items()]
    return " ".join([summary["experiment"], *words[:4], *(["…"] if words[4:] else [])])


def forecast_table(foreseen: dict[str, Any]) -> Table:
    """The levels that `--dry-run` lists, with their cost."""
    table = plain_table(f"{foreseen['experiment']} on {foreseen['device']}")
    for heading in ("level", "sparsity %", "epochs", "", "time", "disk"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in foreseen["levels"]:
        cost = (clock(row["seconds"]), megabytes(row["bytes"])) if row["action"] == "train" else ("", "")
        sparsity = "a result" if row["sparsity"] is None else f"{row['sparsity']:.2f}"
        action = row["action"] + (" in another order" if row["order"] else "")
        table.add_row(str(row["level"]), sparsity, str(row["epochs"]), action, *cost)
    judging = foreseen["judging"]
    if judging["networks"]:
        table.add_row("", "", "", f"judge {plural(judging['networks'], 'network')}", clock(judging["seconds"]), "")
    table.add_section()
    table.add_row("all", "", "", "", clock(foreseen["seconds"]), megabytes(foreseen["bytes"]))
    return table


def names_table(title: str, key: str, names: Mapping[str, str], width: int) -> Table:
    """A table of names. A name is never broken: where there is no room beside it, its explanation goes below."""
    table = plain_table(f"{title} ({key})", show_header=False)
    table.add_column(no_wrap=True, style="cyan", overflow="ignore")
    beside = width >= 80
    if beside:
        table.add_column(overflow="fold")
    for name, about in names.items():
        if beside:
            table.add_row(name, Text(about))
        else:
            table.add_row(name)
            for line in textwrap.wrap(about, width - 4, break_long_words=False):
                table.add_row(Text(f"  {line}", "default"))
    return table


def schedule_drawing(name: str, moves: Sequence[float], after: Sequence[float], width: int) -> Iterable[Any]:
    """A schedule as a curve over progress (`moves` at equal distances), and the sparsity after each pruning."""
    height, columns = 10, min(51, width - 8)
    top = max(*moves, *after, 1.0)
    drawn = [moves[round(k * (len(moves) - 1) / (columns - 1))] for k in range(columns)]
    yield Text(f"{name}: sparsity in % over the progress of pruning", "bold")
    for row in range(height, 0, -1):
        line = "".join("█" if move / top * height >= row - 0.5 else " " for move in drawn)
        yield Text(f"{top * row / height:5.1f} │{line}", "cyan")
    yield Text(f"  0.0 └{'─' * columns}", "cyan")
    yield Text("       0" + "progress".center(columns - 2) + "1", "dim")
    yield ""
    table = plain_table(plural(len(after), "pruning"))
    for heading in ("pruning", "sparsity %", "of what was left %"):
        table.add_column(heading, justify="right")
    for k, (was, now) in enumerate(zip([0.0, *after[:-1]], after, strict=True), 1):
        share = 100 * (now - was) / (100 - was)
        table.add_row(str(k), f"{now:.2f}", f"{share:.2f}" if now >= was else "grows again")
    yield table


def data_tables(found: dict[str, Any]) -> Iterable[Any]:
    """What `lthrun data info` knows."""
    table = plain_table("Images")
    table.add_column("")
    sides = ["train", "valid", *(["test"] if found["n_test"] else [])]
    for heading in ("all", *sides):
        table.add_column(heading, justify="right")
    for name in found["classes"]:
        table.add_row(Text(escape_unprintable(name)), *(f"{found[side][name]:,}" for side in ("classes", *sides)))
    table.add_row("images", *(f"{found[side]:,}" for side in ("images", *(f"n_{side}" for side in sides))))
    table.add_row("majority rate", "", "", f"{100 * found['majority_rate']:.1f} %" if found["n_valid"] else "–")
    yield table
    copies = sum(map(len, found["duplicates"]))
    groups = plural(len(found["duplicates"]), "group")
    yield f"byte-identical: {copies} files in {groups}, each kept on one side of the split"
    if found["own_sides"]:
        yield f"the data set's own split is kept: {' and '.join(found['own_sides'])}"
    near = found.get("near_duplicates", [])
    if near:
        yield f"nearly the same on two sides of the split: {plural(len(near), 'pair')}; remove one of each"
        for pair in near[:20]:
            yield Text(escape_unprintable(f"  {' and '.join(pair)}"))
    for kind, white in found["white"].items():
        yield f"{kind}: scaled to 8 bits, {white:,g} is white"
    if found["channels"] == 1:
        yield "all images are gray: one channel"
    for reason, count in sorted(found["skipped"].items()):
        yield Text(escape_unprintable(f"skipped: {plural(count, 'file')}, {reason}"))
    yield f"unreadable: {len(found['unreadable'])}"
    for name, why in found["unreadable"].items():
        yield Text(escape_unprintable(f"  {name}: {why}"))
    yield Text(f"store: {megabytes(found['bytes'])} at {found['image_size']} px in {found['store']}", overflow="fold")


def with_interval(value: float, interval: Sequence[float]) -> str:
    """A share in percent with its interval: `75.0 (72.7 to 77.1)`."""
    return f"{100 * value:.1f} ({100 * interval[0]:.1f} to {100 * interval[1]:.1f})"


def megabytes(count: int) -> str:
    return f"{count / 1e6:,.0f} MB"


def clock(seconds: float) -> str:
    """`0:07`, `12:30`, `1:02:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def point(step: int, epoch_steps: int) -> str:
    """A rewind point in words."""
    epoch, within = divmod(step, epoch_steps)
    if step == 0:
        return "at initialisation"
    return f"after {plural(epoch, 'epoch')}" if within == 0 else f"after step {step}"


def plural(count: int, thing: str) -> str:
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"
