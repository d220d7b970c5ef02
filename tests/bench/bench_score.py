"""How fast texts are scored, against Hugging Face evaluate's and Detoxify's ways, and how far scores are apart.

    python -m tests.bench.bench_score [--traffic FILE] [--texts 96] [--rounds 3] [--device cpu] [--only perplexity]

Real architectures with random weights (gpt2-small, roberta-base: speed does not depend on what a model knows). The
texts are the prompts and responses of an inference table in JSON lines (``--traffic``, with ``request`` and
``response``), else generated with the lengths and repetitions of real chats. Needs torch and transformers, no Spark.

Peers, on the same texts and in the same run, each round in another order:

- perplexity: evaluate's algorithm (v0.4): batches of 16, padded to the longest, attention mask, full logits, transposed
  cross-entropy, fp32. evaluate itself does not run with transformers 5, loads the model anew for each call, and pads to
  the longest text of the call; here it is spared all three.
- toxicity: evaluate's ``pipeline("text-classification", truncation=True)`` over a list, one text at a time; and padded
  batches of 16, as Detoxify makes them.
- readability: ``textstat.flesch_kincaid_grade``, with the dictionary that it would download.

Prints a line per scorer; a ratio is the peer's CPU seconds over ours (on a GPU: wall seconds), of medians. How large it
is depends on how unlike the lengths of the texts are: ``padding`` is the tokens of the peers' batches over those of the
texts. Tokens a second are of distinct texts, which are those that ours computes. The share of peak is of what a large
matrix product reaches on this device, measured in the same run.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForSequenceClassification,
    pipeline,
)

from metrics.hashes import keyed_hash
from metrics.score.models import be_quiet, find_model
from metrics.score.packing import Body
from metrics.score.perplexity import load_perplexity
from metrics.score.readability import english_words, flesch_kincaid, syllables
from metrics.score.toxicity import load_toxicity

if TYPE_CHECKING:
    from collections.abc import Iterator

BATCH = 16
CONTEXT, MAX_TOKENS = 1024, 512
SAME_TEXTS = 0.22
"""Share of real chat texts that repeat another."""

Run = Callable[[], Sequence[float]]


@dataclass
class Timing:
    """What rounds of one way to score took: seconds, MiB beyond what was there before, and the scores."""

    seconds: list[float]
    wall: list[float]
    mib: float
    scores: Sequence[float]


def traffic(file: Path) -> list[str]:
    """Prompts and responses of an inference table in JSON lines."""
    texts: list[str] = []
    with gzip.open(file, "rt") if file.suffix == ".gz" else file.open() as lines:
        for line in lines:
            row = json.loads(line)
            request, response = (json.loads(row[name] or "null") for name in ("request", "response"))
            said = [m["content"] for m in (request or {}).get("messages", []) if m.get("role") == "user"][-1:]
            said += [c["message"]["content"] for c in (response or {}).get("choices", [])[:1]]
            texts += [text for text in said if isinstance(text, str) and text.strip()]
    return texts


def generated(count: int) -> list[str]:
    """Texts of common English words; lengths are log-normal with a median of 14 words, a fifth are repetitions."""
    draw = random.Random(1)
    words = [word for word in english_words() if word.isalpha()]
    common = draw.sample(words, 5000)
    weights = [1 / rank for rank in range(1, len(common) + 1)]
    texts: list[str] = []
    for _ in range(count):
        if texts and draw.random() < SAME_TEXTS:
            texts.append(draw.choice(texts))
            continue
        length = max(1, min(460, int(draw.lognormvariate(2.64, 1.0))))
        chosen = draw.choices(common, weights, k=length)
        texts.append(" ".join(word + ("." if draw.random() < 0.08 else "") for word in chosen))
    return texts


def tokenizer(texts: Sequence[str], *, classifier: bool) -> PreTrainedTokenizerFast:
    """Byte-level BPE of the texts, in the form of GPT-2's or RoBERTa's."""
    special = ["<s>", "<pad>", "</s>"] if classifier else ["<|endoftext|>"]
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=20_000, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    inner.train_from_iterator(texts, trainer)
    if classifier:
        inner.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
        names = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "cls_token": "<s>", "sep_token": "</s>"}
    else:
        names = dict.fromkeys(("bos_token", "eos_token", "pad_token"), special[0])
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        model_max_length=MAX_TOKENS if classifier else CONTEXT,
        model_input_names=["input_ids", "attention_mask"],
        **names,
    )


def save_models(folder: Path, texts: Sequence[str]) -> tuple[Path, Path]:
    """gpt2-small and roberta-base with random weights, and tokenizers."""
    torch.manual_seed(0)
    causal, classifier = folder / "gpt2", folder / "roberta"
    GPT2LMHeadModel(GPT2Config(bos_token_id=0, eos_token_id=0)).save_pretrained(causal)
    tokenizer(texts, classifier=False).save_pretrained(causal)
    config = RobertaConfig(max_position_embeddings=MAX_TOKENS + 2, type_vocab_size=1, num_labels=2)
    RobertaForSequenceClassification(config).save_pretrained(classifier)
    tokenizer(texts, classifier=True).save_pretrained(classifier)
    return causal, classifier


def evaluate_perplexity(model: Any, tokens: Any, texts: Sequence[str], device: str) -> list[float]:
    """The steps of evaluate's metric "perplexity" with add_start_token, called with one batch after the other."""
    result: list[float] = []
    for start in range(0, len(texts), BATCH):
        encoded = tokens(
            list(texts[start : start + BATCH]), add_special_tokens=False, padding=True, truncation=True,
            max_length=CONTEXT - 1, return_tensors="pt", return_attention_mask=True,
        ).to(device)  # fmt: skip
        bos = torch.full((len(encoded["input_ids"]), 1), tokens.bos_token_id, device=device)
        ids = torch.cat([bos, encoded["input_ids"]], dim=1)
        mask = torch.cat([torch.ones_like(bos), encoded["attention_mask"]], dim=1)
        with torch.no_grad():
            logits = model(ids, attention_mask=mask).logits
        shifted, labels, kept = logits[..., :-1, :].contiguous(), ids[..., 1:].contiguous(), mask[..., 1:].contiguous()
        loss = torch.nn.CrossEntropyLoss(reduction="none")(shifted.transpose(1, 2), labels)
        result += torch.exp((loss * kept).sum(1) / kept.sum(1)).tolist()
    return result


def padded_toxicity(model: Any, tokens: Any, texts: Sequence[str], device: str) -> list[float]:
    """Batches padded to the longest, as Detoxify's predict makes them."""
    result: list[float] = []
    for start in range(0, len(texts), BATCH):
        some = list(texts[start : start + BATCH])
        encoded = tokens(some, return_tensors="pt", truncation=True, padding=True).to(device)
        with torch.no_grad():
            result += model(**encoded).logits.softmax(-1)[:, 1].tolist()
    return result


@contextmanager
def memory(device: str) -> Iterator[list[float]]:
    """MiB beyond what is there, at most; of the GPU, or of the process as it is sampled."""
    found = [0.0]
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
        allocated = torch.cuda.memory_allocated()
        yield found
        found[0] = (torch.cuda.max_memory_allocated() - allocated) / 2**20
        return
    done = threading.Event()

    def resident() -> float:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20

    before = resident()

    def watch() -> None:
        while not done.wait(0.02):
            found[0] = max(found[0], resident() - before)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        done.set()
        thread.join()


def timed(ways: dict[str, Run], *, rounds: int, device: str) -> dict[str, Timing]:
    """Each way once, for its memory and to warm it up, and then in each round, in another order every time."""
    clock = time.perf_counter if device.startswith("cuda") else time.process_time
    timings = {name: Timing([], [], 0.0, []) for name in ways}
    for name, run in ways.items():
        with memory(device) as mib:
            run()
        timings[name].mib = mib[0]
    for turn in range(rounds):
        names = list(ways)
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            begun, wall = clock(), time.perf_counter()
            timings[name].scores = ways[name]()
            timings[name].seconds.append(clock() - begun)
            timings[name].wall.append(time.perf_counter() - wall)
    return timings


def figures(found: dict[str, Timing], tokens: int) -> dict[str, float]:
    """What is measured of each way alike: seconds, tokens a second and memory."""
    result = {}
    for name, timing in found.items():
        result[f"seconds_{name}"] = median(timing.seconds)
        result[f"wall_seconds_{name}"] = median(timing.wall)
        result[f"tokens_per_second_{name}"] = tokens / median(timing.seconds)
        result[f"mib_{name}"] = timing.mib
    return result


def padding(lengths: Sequence[int]) -> float:
    """Tokens of batches that are padded to their longest text, over the tokens of the texts."""
    batches = [lengths[start : start + BATCH] for start in range(0, len(lengths), BATCH)]
    return sum(max(batch) * len(batch) for batch in batches) / sum(lengths)


def deviation(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Largest relative difference."""
    a, b = np.asarray(ours, dtype=float), np.asarray(theirs, dtype=float)
    return float(np.max(np.abs(a - b) / np.abs(b)))


def flop(body: Body, lengths: Sequence[int], *, head: int) -> float:
    """Floating-point operations that scoring needs: 2 per weight and token, and attention's two products.

    Args:
        body: The model.
        lengths: Tokens per text.
        head: Weights of the head that are used for each token.
    """
    config = body.model.config
    layers, size = config.num_hidden_layers, config.hidden_size
    weights = 12 * layers * size * size + head
    causal = 0.5 if body.model.base_model.__class__.__name__.startswith("GPT") else 1.0
    attention = sum(4 * layers * size * n * n * causal for n in lengths)
    return float(2 * weights * sum(lengths) + attention)


def peak(device: str, dtype: torch.dtype) -> float:
    """FLOP per second of a large matrix product on this device; on a CPU per CPU second."""
    n = 8192 if device.startswith("cuda") else 1536
    a, b = torch.randn(n, n, device=device).to(dtype), torch.randn(n, n, device=device).to(dtype)
    seconds = []
    for _ in range(6):
        begun = time.perf_counter() if device.startswith("cuda") else time.process_time()
        torch.mm(a, b)
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        seconds.append((time.perf_counter() if device.startswith("cuda") else time.process_time()) - begun)
    return float(2 * n**3 / min(seconds))


def bench_perplexity(folder: Path, texts: list[str], *, rounds: int, device: str) -> dict[str, float]:
    files = find_model(str(folder))
    scorers = {dtype: load_perplexity(files, device, dtype) for dtype in ("float32", "bfloat16")}
    tokens = scorers["float32"].tokenizer
    model = GPT2LMHeadModel.from_pretrained(folder).eval().to(device)

    def ours(dtype: str) -> Run:
        def run() -> list[float]:
            scorer = scorers[dtype]
            distinct = list(dict.fromkeys(texts))
            ids = scorer.encode(distinct)
            scored = dict(zip(distinct, scorer.score([(row,) for row in ids]), strict=True))
            return [float(np.exp(nll / n)) for text in texts for nll, n in scored[text]]

        return run

    ways: dict[str, Run] = {name: ours(dtype) for name, dtype in (("fp32", "float32"), ("bf16", "bfloat16"))}
    ways["peer"] = lambda: evaluate_perplexity(model, tokens, texts, device)
    found = timed(ways, rounds=rounds, device=device)
    lengths = [len(ids) + 1 for ids in scorers["float32"].encode(list(dict.fromkeys(texts)))]
    every = [len(ids) + 1 for ids in scorers["float32"].encode(texts)]
    work = flop(scorers["float32"].body, lengths, head=model.config.vocab_size * model.config.hidden_size)
    result = {f"perplexity_{name}": value for name, value in figures(found, sum(lengths)).items()}
    result["perplexity_padding"] = padding(every)
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        seconds, theirs = median(found[name].seconds), median(found["peer"].seconds)
        result[f"perplexity_speedup_{name}"] = theirs / seconds
        result[f"perplexity_deviation_{name}"] = deviation(found[name].scores, found["peer"].scores)
        result[f"perplexity_share_of_peak_{name}"] = work / seconds / peak(device, dtype)
    return result


def bench_toxicity(folder: Path, texts: list[str], *, rounds: int, device: str) -> dict[str, float]:
    files = find_model(str(folder))
    dtypes = {"fp32": "float32", "bf16": "bfloat16"} | ({} if device.startswith("cuda") else {"int8": "int8"})
    scorers = {name: load_toxicity(files, "LABEL_1", device, dtype) for name, dtype in dtypes.items()}
    tokens = scorers["fp32"].tokenizer
    model = RobertaForSequenceClassification.from_pretrained(folder).eval().to(device)
    pipe = pipeline("text-classification", model=model, tokenizer=tokens, top_k=99999, truncation=True, device=device)

    def of_pipeline(some: list[str]) -> list[float]:
        return [next(one["score"] for one in labels if one["label"] == "LABEL_1") for labels in pipe(some)]

    def ours(name: str) -> Run:
        def run() -> list[Any]:
            distinct = list(dict.fromkeys(texts))
            scored = dict(zip(distinct, scorers[name].score(distinct), strict=True))
            return [scored[text] for text in texts]

        return run

    ways: dict[str, Run] = {name: ours(name) for name in dtypes}
    ways["peer"] = lambda: of_pipeline(texts)
    ways["padded"] = lambda: padded_toxicity(model, tokens, texts, device)
    found = timed(ways, rounds=rounds, device=device)
    distinct = list(dict.fromkeys(texts))
    lengths = [len(ids) for ids in tokens(distinct, truncation=True)["input_ids"]]
    work = flop(scorers["fp32"].body, lengths, head=0)
    # The peers cut what is longer; only what all read whole can be compared.
    whole = [i for i, ids in enumerate(tokens(texts)["input_ids"]) if len(ids) <= MAX_TOKENS]
    result = {f"toxicity_{name}": value for name, value in figures(found, sum(lengths)).items()}
    result["toxicity_padding"] = padding([len(ids) for ids in tokens(texts, truncation=True)["input_ids"]])
    for name in dtypes:
        seconds = median(found[name].seconds)
        result[f"toxicity_speedup_{name}"] = median(found["peer"].seconds) / seconds
        result[f"toxicity_speedup_{name}_to_padded"] = median(found["padded"].seconds) / seconds
        pairs = [(found[name].scores[i], found["peer"].scores[i]) for i in whole]
        result[f"toxicity_deviation_{name}"] = max(abs(a - b) for a, b in pairs)
        if name != "int8":
            dtype = torch.float32 if name == "fp32" else torch.bfloat16
            result[f"toxicity_share_of_peak_{name}"] = work / seconds / peak(device, dtype)
    return result


def bench_readability(texts: list[str], *, rounds: int) -> dict[str, float]:
    import textstat
    from textstat.backend.counts import _count_syllables

    phones = {word: [["0"] * syllables(word)] for word in english_words()}
    _count_syllables.get_cmudict = lambda lang: phones
    ways: dict[str, Run] = {
        "ours": lambda: [flesch_kincaid(text) or 0.0 for text in texts],
        "peer": lambda: [float(textstat.flesch_kincaid_grade(text)) for text in texts],
    }
    found = timed(ways, rounds=max(rounds, 3), device="cpu")
    differing = sum(a != b for a, b in zip(found["ours"].scores, found["peer"].scores, strict=True))
    return {
        "readability_speedup": median(found["peer"].seconds) / median(found["ours"].seconds),
        "readability_texts_per_second": len(texts) / median(found["ours"].seconds),
        "readability_differing": float(differing),
    }


def main() -> None:
    """Run the benchmark."""
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("--traffic", type=Path, help="inference table in JSON lines (.gz too); default: generated")
    arguments.add_argument("--texts", type=int, default=96, help="texts that the models score")
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--device", default="cpu")
    arguments.add_argument("--threads", type=int, default=1)
    arguments.add_argument("--only", choices=("perplexity", "toxicity", "readability"))
    options = arguments.parse_args()
    be_quiet()
    torch.set_num_threads(options.threads)
    texts = traffic(options.traffic) if options.traffic else generated(4000)
    draw = random.Random(2)
    result: dict[str, Any] = {"bench": "score", "device": options.device, "threads": options.threads}
    if options.device.startswith("cuda"):
        result["device"] = torch.cuda.get_device_name()
    with tempfile.TemporaryDirectory() as folder:
        causal, classifier = save_models(Path(folder), texts)
        inside = tokenizer(texts, classifier=False)
        short = [t for t in texts if len(inside(t, add_special_tokens=False)["input_ids"]) < CONTEXT]
        some = draw.sample(short, min(options.texts, len(short)))
        result["texts"], result["same_texts"] = len(some), len(some) - len(set(some))
        result["corpus"] = keyed_hash("\n".join(some), b"corpus")[:8]  # type: ignore[index]
        if options.only in (None, "readability"):
            result |= bench_readability(texts, rounds=options.rounds)
        if options.only in (None, "perplexity"):
            result |= bench_perplexity(causal, some, rounds=options.rounds, device=options.device)
        if options.only in (None, "toxicity"):
            result |= bench_toxicity(classifier, some, rounds=options.rounds, device=options.device)
    for name in ("perplexity_speedup_fp32", "perplexity_speedup_bf16", "toxicity_speedup_fp32", "toxicity_speedup_bf16",
                 "toxicity_speedup_int8", "readability_speedup"):  # fmt: skip
        if name in result:
            print(f"{name.replace('_', ' '):<26} {result[name]:6.2f} times the peer")
    print(json.dumps({name: round(value, 6) if isinstance(value, float) else value for name, value in result.items()}))


if __name__ == "__main__":
    main()
