"""Compress a real sentence encoder, verify it, and search with it from the compressed file."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from tokenizers import Tokenizer

import tersely
from tersely.cli import tensor_table
from tersely.cli.output import print_totals
from tersely.graph import files

sys.path.insert(0, str(Path(__file__).parent))
import bert
import network
from weights import fetch

CACHE = Path(__file__).parents[2] / ".cache"
ROUNDS = 9
BOUND = 1e-4
"""Of numbers of unit vectors: what another order of sums may change, with room to spare."""

SENTENCES = (
    "The cat sleeps on the warm windowsill.",
    "Bread rises because yeast turns sugar into gas.",
    "The train to the coast leaves at half past seven.",
    "A black hole bends the light of the stars behind it.",
    "She learned to play the violin at the age of five.",
    "Tomatoes need a lot of sun and regular watering.",
    "The central bank raised interest rates again.",
    "Vaccines teach the immune system to recognise a virus.",
    "The bridge was closed after the flood damaged its piers.",
    "A recursive function calls itself until a base case is reached.",
    "Penguins huddle together to survive the Antarctic winter.",
    "The museum shows paintings of the Dutch golden age.",
    "Regular exercise lowers the risk of heart disease.",
    "The striker scored twice in the last ten minutes.",
    "Solar panels turn sunlight into electricity.",
    "He repaired the bicycle's flat tyre by the roadside.",
    "The recipe asks for two eggs and a pinch of salt.",
    "Glaciers in the Alps are melting faster every decade.",
    "The court ruled that the contract was void.",
    "Bees pollinate most of the fruit that we eat.",
    "The compiler turns source code into machine instructions.",
    "An old lighthouse warns ships of the rocks.",
    "The orchestra tuned their instruments before the concert.",
    "Inflation makes savings worth less every year.",
    "The puppy chewed the leg of the kitchen table.",
    "Earthquakes happen where tectonic plates slide past each other.",
    "The novel tells the story of three sisters in Moscow.",
    "Volcanic ash grounded flights across the continent.",
    "The library lends books for four weeks.",
    "Antibiotics do not help against viruses.",
    "The chess champion sacrificed her queen to win.",
    "A rainbow appears when sunlight is split by raindrops.",
)
QUERIES = (
    "How do I look after vegetables in the garden?",
    "programming language tools",
    "news about money and the economy",
    "a pet misbehaving at home",
    "renewable energy",
    "How does medicine fight infections?",
)


def median_ms(runs: dict[str, Any]) -> dict[str, float]:
    """Interleaved medians in milliseconds.

    The other way round every other time, so that no run always follows the same one. The pause and the untimed call
    before each timed one let the idle threads of other pools fall asleep, NumPy's among them.
    """
    times: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(ROUNDS):
        for name, run in list(runs.items())[:: -1 if number % 2 else 1]:
            time.sleep(0.05)
            run()
            start = time.perf_counter()
            run()
            times[name].append((time.perf_counter() - start) * 1e3)
    return {name: statistics.median(values) for name, values in times.items()}


def shown(path: Path) -> str:
    """A path as it is typed here."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the figures as one JSON document")
    arguments = parser.parse_args()
    console = Console(quiet=arguments.json, width=None if sys.stdout.isatty() else 160)

    folder = fetch(CACHE)
    source, packed = folder / "model.safetensors", folder / "model.tersely.safetensors"
    console.rule("1. compress (every bit is kept)")
    start = time.perf_counter()
    report = tersely.compress(source, packed, objective="balanced", profile="native", force=True)
    seconds = time.perf_counter() - start
    if not arguments.json:
        tensor_table.show(report.tensors, 10)
        print_totals(report, f"compressed and verified in {seconds:.1f} s")
    smallest = tersely.compress(source, objective="size", dry_run=True)
    console.print(f"with --objective size it would be {smallest.bytes_after / 1e6:.1f} MB, ratio {smallest.ratio:.3f}")

    console.rule("2. verify against the original")
    verified = tersely.verify(packed, source)
    console.print(f"{verified.tensors} tensors: {verified.message}")
    if not verified.ok:
        raise SystemExit(1)

    console.rule("3. search, with the weights staying compressed")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_padding()
    tokenizer.enable_truncation(128)

    def tokens(texts: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
        encodings = tokenizer.encode_batch(list(texts))
        mask = np.array([encoding.attention_mask for encoding in encodings], np.float32)
        return np.array([encoding.ids for encoding in encodings]), mask

    compressed = network.pipeline(tersely.load_file(packed))
    library = network.embed(compressed, *tokens(SENTENCES))
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("query", "best answer", "cosine"):
        table.add_column(title)
    answers = {}
    for query, vector in zip(QUERIES, network.embed(compressed, *tokens(QUERIES)), strict=True):
        scores = library @ vector
        best = int(scores.argmax())
        answers[query] = SENTENCES[best]
        table.add_row(query, SENTENCES[best], f"{scores[best]:.3f}")
    console.print(table)

    console.rule("4. against dense weights")
    original = {name: tensor.decode() for name, tensor in tersely.load_file(source).items()}
    dense = network.pipeline({name: tersely.encode(one, formulation="dense") for name, one in original.items()})
    expected = bert.embed(*tokens(SENTENCES), original)
    difference = float(np.abs(library - expected).max())
    if not difference < BOUND:
        raise SystemExit(f"the compressed network answers otherwise than NumPy, by {difference:.1e}")
    ms: dict[str, float] = {}
    times = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("forward pass", "NumPy ms", "network, dense ms", "network, compressed ms", "compressed / dense"):
        times.add_column(title, justify="left" if title == "forward pass" else "right")
    for name, texts in (("one", SENTENCES[:1]), ("batch", SENTENCES)):
        some = tokens(texts)
        # NumPy by itself: its threads look for work so long that whoever comes next would pay for it.
        found = median_ms({"numpy": lambda some=some: bert.embed(*some, original)}) | median_ms(
            {
                "dense": lambda some=some: network.embed(dense, *some),
                "compressed": lambda some=some: network.embed(compressed, *some),
            }
        )
        ms |= {f"{name}, {way}": one for way, one in found.items()}
        times.add_row(
            f"{len(texts)} sentence{'s' * (len(texts) > 1)}",
            *(f"{one:.2f}" for one in found.values()),
            f"{found['compressed'] / found['dense']:.2f}",
        )
    console.print(times)
    console.print(
        f"largest difference of an embedding from NumPy's: {difference:.1e} (summation order only)\n"
        f"{tersely.get_num_threads()} threads, {tersely.isa.active()}; NumPy has its BLAS and the float32 original"
    )
    whole = folder / "network.safetensors"
    files.save(compressed, whole)
    console.rule()
    console.print(
        f"{report.bytes_before / 1e6:.1f} MB became {report.bytes_after / 1e6:.1f} MB and answers the same questions;\n"
        f"decompress gives back the original, byte for byte:  tersely decompress {packed.name} -o original.safetensors\n"
        f"where the time of a forward pass goes:  tersely profile {shown(whole)} --graph network.svg"
    )
    if arguments.json:
        figures = {
            "bytes_before": report.bytes_before,
            "bytes_after": report.bytes_after,
            "bytes_after_size": smallest.bytes_after,
            "compress_seconds": seconds,
            "largest_difference": difference,
            "median_ms": ms,
            "answers": answers,
        }
        print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
