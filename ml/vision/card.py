"""Writes the page for people (README.md) that lies beside a release's card.json.

In: the card. Out: Markdown. Every figure on the page is the card's; nothing is measured here.
"""

from __future__ import annotations

from typing import Any

LICENCE = (
    "The weights were trained on pictures of the Amazon Bin Image Dataset, (c) Amazon.com, Inc., under CC BY-NC-SA 3.0 "
    "US: name the source, no commercial use, pass on under the same terms. They started from ImageNet weights: of "
    "EfficientNet-Lite, Apache-2.0, by the TensorFlow authors (PyTorch port: efficientnet-lite-pytorch), or of a ResNet, "
    "BSD-3-Clause, by torchvision. For commercial use train the same network on your own pictures: `inventorybot train count`."
)

LIMITS = [
    "The most probable count is not a fact: the tables above say how seldom it is exact in real bins. Use the whole "
    "distribution.",
    "The label is what the record said when the picture was taken. Records are sometimes wrong, so part of the error "
    "below is theirs, and a model that repeats a recording habit looks better than it counts.",
    "Items behind other items cannot be seen by anyone: from about 6 items on, expect the distribution to be broad.",
    "The last class means 20 or more. Fuller bins are not told apart.",
    "Trained on fabric pods of one company, from fixed cameras, with bands across. Other bins, lenses or light need "
    "their own pictures. It does not notice by itself that a picture is of something else.",
    "About one training picture in eight was drawn by ml/vision/render.py, so that demonstrations with drawn bins are "
    "counted well. Good figures on drawn bins say nothing about real ones; they are reported apart.",
    "The calibration was fitted on real bins with the mix of counts of the data set; where a warehouse's bins are "
    "fuller or emptier, confidence is off until the temperature is fitted again.",
]

TITLES = {
    "all": "All counts, plain prediction over 0..20+",
    "0to5_plain": "Bins with 0-5 items, plain prediction over 0..20+",
    "0to5_restricted": "Bins with 0-5 items, told that there are at most 5 (p(0..5) renormalised)",
}
BASELINES = {
    "all_largest_class": "all counts: always the largest class",
    "all_distinct_asins": "all counts: number of distinct ASINs on the record",
    "0to5_largest_class": "0-5 items: always the largest class",
    "0to5_distinct_asins": "0-5 items: number of distinct ASINs on the record",
}


def readme(card: dict[str, Any]) -> str:
    """The model card as Markdown."""
    n, found = card["images"], card["metrics"]
    networks = f"{card['members']} x {card['arch']}" if card["members"] > 1 else card["arch"]
    parts = [
        f"# {card['name']}-{card['version']}: counts the items in a picture of a bin\n",
        f"{networks}, {card['input']['px']} px{', and its mirror image' if card['flip'] else ''}, 21 classes (0 ... 19, 20 or "
        f"more), calibrated with temperature {card['temperature']}. Created {card['created']} by InventoryBot "
        f"{card['code_version']}.\n",
        "## How it was measured\n",
        f"Trained on {n['train']} real pictures and {card['config']['rendered']} drawn ones, "
        f"{' + '.join(map(str, card['epochs_done']))} epochs. Pictures of one bin before and after an event never lie on "
        f"both sides of a split. Temperature and prediction sets were fitted on {n['calibration']} training pictures that "
        "were kept back. In brackets: 95 % interval, bootstrap over bins (that of ECE leans upward: resampling adds noise, "
        "which ECE counts as error).\n",
        f"### {n['val']} validation pictures, {n['val_0to5']} with 0-5 items\n",
        _table(found),
        "\nWhat needs no picture, on the same bins:\n",
        _baselines(card["baselines"]),
        "\n`Told that there are at most 5` is the task others report on; the plain rows are what the product uses.\n",
        *_alerts(found.get("alerts", {})),
        f"### Drawn bins: {n['rendered_report']} pictures that are not of real bins\n",
        _table(found, {"rendered": "0 to 24 items, drawn by a seed that was not trained on"}),
        "",
        "## Limits\n",
        *(f"- {line}" for line in [*LIMITS, *([card["note"]] if card["note"] else [])]),
        "\n## Licence\n",
        LICENCE + "\n",
        "## Files\n",
        f"- `model.safetensors`: sha256 `{card['sha256']}`\n- `graph.onnx`: its operations without the weights, for "
        "processors\n- `card.json`: everything above for machines, with the training configuration and the hash of the "
        f"data (`{card['data_sha256'][:16]}...`)",
    ]
    return "\n".join(parts) + "\n"


def _alerts(found: dict[str, Any]) -> list[str]:
    if not found:
        return []
    rows = [f"| {name.replace('_', ' of ±' if name.startswith('recall') else ', alerts per thousand bins: ')} | {it['value']:.1%} "
            f"({it['low']:.1%} to {it['high']:.1%}) |" for name, it in found.items()]  # fmt: skip
    return [
        "### Miscounts put into 2 % of the records; recall at 1 % false alarms\n",
        "| | |",
        "| --- | --- |",
        *rows,
        "",
    ]


def _table(found: dict[str, Any], titles: dict[str, str] = TITLES) -> str:
    rows = ["| | accuracy | within one | MAE | RMSE | NLL | ECE |", "| --- | --- | --- | --- | --- | --- | --- |"]
    for key, title in titles.items():
        if it := found.get(key):
            cells = [_cell(it[m], m) for m in ("accuracy", "within_one", "mae", "rmse", "nll", "ece")]
            rows.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(rows)


def _cell(it: dict[str, float], metric: str) -> str:
    if metric in ("accuracy", "within_one"):
        return f"{it['value']:.1%} ({it['low']:.1%} to {it['high']:.1%})"
    return f"{it['value']:.3f} ({it['low']:.3f} to {it['high']:.3f})"


def _baselines(found: dict[str, Any]) -> str:
    rows = ["| | accuracy | within one | MAE | RMSE |", "| --- | --- | --- | --- | --- |"]
    for key, title in BASELINES.items():
        if it := found.get(key):
            rows.append(
                f"| {title} | {it['accuracy']:.1%} | {it['within_one']:.1%} | {it['mae']:.3f} | {it['rmse']:.3f} |"
            )
    return "\n".join(rows)
