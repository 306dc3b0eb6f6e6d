"""Does a small BERT find splice junctions in primate DNA better than the networks of 1992, and does pre-training help?

    jaxresearch run genome --folds 10                                              all examples, ten folds as one sweep
    jaxresearch run genome --folds 10 --train-examples 1000 --directory runs/fresh     as many as the published systems used
    jaxresearch run genome --data chr3 --seeds 1 --epochs 4 --batch-size 200 --dropout-rate 0.1 --directory runs/chr3
    jaxresearch run genome --folds 10 --train-examples 1000 --init-from runs/chr3 --directory runs/tuned
    jaxresearch compare runs/fresh runs/tuned      the gain from pre-training on human chromosome 3, paired by fold

Two CPU cores, six minutes with 1,000 examples, a quarter of an hour with all. Windows of 60 bases, cut into 20 tokens of three.
Published errors in per cent for N / EI / IE (ten folds of 1,000 examples): KBANN 4.62 / 7.56 / 8.47, back-propagation 5.29 /
5.74 / 10.75, PEBLS 6.86 / 8.18 / 7.55. Expect 3.99 / 4.43 / 5.47 (4.45 over all, 2.97 to 5.93 over folds), with all examples
3.07 over all (2.06 to 4.09), and no gain from pre-training, for which `--data` may be any FASTA file; README.md has the details.
"""

import jax
import numpy as np
import optax

from jaxresearch import data, losses, metrics, models, schedules, statistics, training
from jaxresearch.experiment import Experiment
from jaxresearch.fields import dna, text
from jaxresearch.hyperparameters import hyperparameters, static, swept
from jaxresearch.statistics import Claim

LENGTH, K = 60, 3  # bases of a window and of a token
N_TOKENS = 4**K + 2  # the last two are ambiguous bases and the mask
MASK = {"n_tokens": 4**K, "mask_token": N_TOKENS - 1}
POOLING = "flatten"  # windows are centred on the junction, so positions are comparable


@hyperparameters
class Genome:
    """Sizes for a thousand examples."""

    learning_rate: float = swept(2e-3, "peak step size of AdamW", above=0)
    body_rate: float = swept(1.0, "step size of all layers but the head, relative to it; 0 freezes them", at_least=0)
    weight_decay: float = swept(0.01, "fraction of the weights that a step of size 1 removes", at_least=0)
    masked_share: float = swept(0.15, "fraction of the tokens hidden at each step", at_least=0, below=1)
    dropout_rate: float = static(0.4, "fraction of entries dropped in training", at_least=0, at_most=0.9)
    n_members: int = static(5, "classifiers in the ensemble; each trains on its part of a batch", at_least=1)
    batch_size: int = static(250, "sequences per step", at_least=1)
    epochs: int = static(150, "passes over the training data, shared by the members of the ensemble", at_least=1)
    width: int = static(48, "entries of a token's vector", at_least=4)
    n_layers: int = static(2, "number of blocks", at_least=1)
    n_heads: int = static(4, "attention heads", at_least=1)


def collect(source, *, target=None, **reading):
    """Returns labelled sequences, those of a table's column "sequence", or windows of a genome to pre-train on."""
    if target is not None:
        reading = {"target": target, **reading}
    if source == "splice" or (target is not None and source != "chr3"):
        return data.load(source, **{"task": "classification", **reading})
    if asked := reading.keys() - {"cipher"}:  # a genome caches nothing to encrypt
        raise ValueError(
            f"{', '.join(sorted(asked))} must be left out with a genome, got {source}. Its last tenth is the test part."
        )
    return dna.load_genome(source, length=LENGTH, stride=20)


def algorithm(h, card, plan, fitted):
    """Returns an ensemble that classifies windows if there are classes, else an encoder that predicts hidden tokens."""
    options = {"warmup": plan.n_steps // 10, "weight_decay": h.weight_decay, "max_norm": 1.0}
    adamw = optax.chain(schedules.adamw(h.learning_rate, plan.n_steps, **options), schedules.scale_body(h.body_rate))
    if not card.class_names:
        model = models.encoder(N_TOKENS, sizes_of(h, card))
        return text.masked_pretraining(model, rate=h.masked_share, optimizer=adamw, estimator=plan.estimator, **MASK)
    recall, loss = metrics.recall(average=None), losses.softmax_cross_entropy_with_integer_labels
    of_class = {f"error_{name}": metrics.error(recall, class_index=k) for k, name in enumerate(card.class_names)}
    of_all = {"error": metrics.error(metrics.accuracy()), **of_class, "macro_f1": metrics.f1(average="macro")}
    return training.supervised(ensemble(h, card), loss, metrics=of_all, optimizer=adamw, estimator=plan.estimator)


def sizes_of(h, card):
    """Returns the sizes of a network that reads all tokens of a sequence."""
    return models.TransformerSizes.of(h, context=card.n_features, positions="learnt")


def ensemble(h, card):
    """Returns the classifiers, from which tokens are hidden in training."""
    sizes, mask = sizes_of(h, card), MASK["mask_token"]
    classifier = models.classifier(N_TOKENS, card.n_classes, sizes, pooling=POOLING)
    return models.ensemble(models.word_dropout(classifier, rate=h.masked_share, token=mask), n_members=h.n_members)


def report(h, state, collected, dataset):
    """Returns the errors without duplicates, and how well k-means recovers the classes from embeddings and 3-mer counts."""
    if not dataset.card.class_names:
        return "Pre-training: errors are of predicting hidden tokens; the claim is not about them."
    classify = jax.jit(ensemble(h, dataset.card).apply)
    embed = jax.jit(models.embedder(N_TOKENS, sizes_of(h, dataset.card), pooling=POOLING).apply)
    found = []
    for run in range(len(state.params["embedding"])):
        params, (train, test, *_) = jax.tree.map(lambda leaf, run=run: leaf[run], state.params), dataset.of_run(run)
        is_real = test.get("weights", np.ones(len(test["targets"]))) > 0
        tokens, classes = test["inputs"][is_real], test["targets"][is_real]
        is_wrong = np.asarray(classify(params, {}, tokens)[0]).argmax(axis=-1) != classes
        vectors, _ = embed(jax.tree.map(lambda leaf: leaf[0], params), {}, tokens)  # by the first member
        recovery = dna.class_recovery(
            jax.random.key(run), vectors, dna.kmer_bases(tokens, k=K), classes, n_classes=dataset.card.n_classes
        )
        found.append((is_wrong[~dna.duplicates(tokens, train["inputs"])].mean(), *recovery))
    of_runs = [(np.mean(values), *statistics.interval(values, over="folds")) for values in np.array(found).T]
    errors, embeddings, counts = ("{:.4f} ({:.4f} to {:.4f})".format(*numbers) for numbers in of_runs)
    index = f"adjusted Rand index of k-means with the classes: embeddings {embeddings}, 3-mer counts {counts}"
    return f"errors on test windows that do not occur in the training part: {errors}; {index}"


experiment = Experiment(
    question="Does a small BERT find splice junctions better than the networks of 1992, and does pre-training help?",
    claim=Claim(
        text="at most 3.5 % errors in ten folds", metric="test/error", about="new examples", at_most=0.035, n_folds=10
    ),
    hyperparameters=Genome(),
    source="splice",
    collect=collect,
    preprocess=dna.kmer_tokens(K, hidden=lambda tokens: text.masked_examples(jax.random.key(0), tokens, **MASK)),
    algorithm=algorithm,
    report=report,
)
