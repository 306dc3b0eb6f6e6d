"""The bundled sequences and definitions equal the original data, with the published statistics."""

import re

import numpy as np
import pytest

from jaxresearch import data
from jaxresearch.data import bundled
from jaxresearch.data.bundled import read_bundled
from jaxresearch.fields import dna


def test_splice_has_its_card_and_its_classes():
    junctions = data.load("splice")
    assert junctions.card.class_names == ("EI", "IE", "N") and junctions.card.licence == "CC BY 4.0"
    counts = [np.bincount(part["targets"]) for part in (junctions.train, junctions.test)]
    assert sum(counts).tolist() == [767, 768, 1655]
    np.testing.assert_allclose(counts[1] / sum(counts), 0.2, atol=1e-3)  # to within one example of 767
    assert junctions.train["targets"].dtype == np.int32
    sequences = junctions.train["inputs"]["sequence"]
    assert {len(sequence) for sequence in sequences} == {60}
    assert np.stack([dna.bases(str(sequence)) for sequence in sequences]).shape == (2552, 60)


def test_credit_has_its_card_and_its_classes():
    applicants = data.load("credit", split=data.Split(fraction=0.5))
    assert applicants.card.class_names == ("bad", "good") and applicants.card.licence == "CC BY 4.0"
    targets, ages = (
        np.concatenate([read(part) for part in (applicants.train, applicants.test)])
        for read in (lambda part: part["targets"], lambda part: part["inputs"]["age"])
    )
    assert np.bincount(targets).tolist() == [300, 700]
    assert (ages.min(), ages.max(), ages.mean()) == (19, 75, 35.546)


def test_pupils_are_whole_in_the_parts_of_a_split():
    scores = data.load("pupils", split=data.Split(by="group", column="childid"))
    assert scores.card.licence == "GPL-2.0-or-later" and not scores.card.class_names
    rows = [(part["groups"], part["inputs"], part["targets"][:, 0]) for part in (scores.train, scores.test)]
    assert not {*rows[0][0]} & {*rows[1][0]} and len({*rows[0][0]} | {*rows[1][0]}) == 1721
    year, math, school = (
        np.concatenate(columns)
        for columns in (
            [inputs["year"] for _, inputs, _ in rows],
            [targets for _, _, targets in rows],
            [inputs["schoolid"] for _, inputs, _ in rows],
        )
    )
    assert len(math) == 7230 and len({*school}) == 60
    # Least squares of all scores on the year, by NumPy: about three quarters of a logit a year.
    assert 0.7 < np.polyfit(year, math, 1)[0] < 0.8


def test_the_exam_has_the_answers_of_its_source():
    answers = data.load("math_exam", split=data.Split(by="group", column="student"))
    assert answers.card.class_names == ("no", "yes") and answers.card.licence == "GPL-2.0-only OR GPL-3.0-only"
    items = next(column for column in answers.card.columns if column.name == "item").levels
    solved, item = (
        np.concatenate([read(part) for part in (answers.train, answers.test)])
        for read in (lambda part: part["targets"], lambda part: part["inputs"]["item"])
    )
    assert len(solved) == 9477 and len(items) == 13
    of_item = dict(zip(items, np.bincount(item, solved) / 729, strict=True))
    assert max(of_item, key=of_item.get) == "hesse" and min(of_item, key=of_item.get) == "payflow"
    np.testing.assert_allclose((of_item["hesse"], of_item["payflow"]), (572 / 729, 127 / 729))


def test_splice_borders_stand_where_they_should():
    junctions = data.load("splice")
    made = np.stack([dna.bases(str(sequence)) for sequence in junctions.train["inputs"]["sequence"]])
    targets = junctions.train["targets"]
    # Nearly every intron begins with GT and ends with AG: letters 31, 32 of EI and 29, 30 of IE.
    assert np.mean(np.all(made[targets == 0, 30:32] == [2, 3], axis=1)) > 0.97
    assert np.mean(np.all(made[targets == 1, 28:30] == [0, 2], axis=1)) > 0.97


@pytest.mark.parametrize("name", ["splice", "gene_ontology"])
def test_a_split_is_a_function_of_its_seed(name):
    def tested(seed):
        return data.load(name, split=data.Split(fraction=None, seed=seed)).test["targets"]

    first, again, other = (data.digest({"targets": tested(seed)}) for seed in (1, 1, 2))
    assert first == again != other


def test_bundled_data_are_divided_by_the_rule_of_the_user():
    half = data.load("splice", split=data.Split(fraction=0.5))
    assert len(half.test["targets"]) == 1595 and half.card.split.fraction == 0.5
    sales = data.load("ames", split=data.Split(by="group", column="Neighborhood", fraction=None))
    assert not {*sales.train["groups"].tolist()} & {*sales.test["groups"].tolist()}
    assert sales.card.split == data.Split(by="group", column="Neighborhood", fraction=0.2)
    assert "Neighborhood" not in sales.train["inputs"] and "Neighborhood" not in sales.card.feature_names
    with pytest.raises(ValueError, match="mnist has a test part of its own, got a fraction of a split"):
        data.load("mnist", split=data.Split(fraction=0.5))
    with pytest.raises(ValueError, match="mnist has a test part of its own, got a seed of a split"):
        data.load("mnist", split=data.Split(fraction=None, seed=3))
    assert data.load("mnist", split=data.Split(by="stretch", fraction=None)).card.split.by == "stretch"


def test_gene_ontology_has_its_card_and_its_branches():
    terms = data.load("gene_ontology")
    assert terms.card.class_names == ("BP", "CC", "MF") and terms.card.licence == "CC BY 4.0"
    assert "2022-07-01" in terms.card.source and "2022-07-01" in terms.card.citation
    counts = [np.bincount(part["targets"]) for part in (terms.train, terms.test)]
    assert sum(counts).tolist() == [20936, 3624, 10580] and counts[1].tolist() == [2094, 362, 1058]
    identifiers = [*terms.train["inputs"]["id"], *terms.test["inputs"]["id"]]
    assert len(set(identifiers)) == 35_140 and all(re.fullmatch(r"GO:\d{7}", one) for one in identifiers)
    place = terms.train["inputs"]["id"].tolist().index("GO:0000006")
    assert terms.train["inputs"]["term"][place] == "high-affinity zinc transmembrane transporter activity"
    assert terms.train["inputs"]["definition"][place].startswith("Enables the transfer of zinc ions (Zn2+)")
    assert terms.train["targets"][place] == 2
    assert all(isinstance(one, str) for one in terms.test["inputs"]["definition"])


def test_an_altered_file_is_refused(monkeypatch):
    monkeypatch.setattr(bundled, "_SPLICE_SHA256", "0" * 64)
    monkeypatch.setattr(bundled, "_GENE_ONTOLOGY_SHA256", "0" * 64)
    with pytest.raises(ValueError, match=r"splice_junctions.csv.xz must have SHA-256 0+, got d7597c2c"):
        bundled.splice()
    with pytest.raises(ValueError, match=r"go_definitions.tsv.xz must have SHA-256 0+, got 0f4eb71e"):
        bundled.gene_ontology()


def test_read_bundled_checks_the_digest_before_unpacking():
    with pytest.raises(ValueError, match=r"stopwords_en.txt must have SHA-256 12, got b73dc8b9.*reinstall it"):
        read_bundled("stop_words", "stopwords_en.txt", sha256="12")


def test_wdbc_has_its_card_and_its_classes():
    samples = data.load("wdbc")
    assert samples.card.class_names == ("B", "M") and samples.card.licence == "CC BY 4.0"
    assert {column.kind for column in samples.card.columns} == {"number"} and samples.card.n_features == 30
    assert sum(np.bincount(part["targets"]) for part in (samples.train, samples.test)).tolist() == [357, 212]


def test_rotterdam_has_its_card_and_a_trial_to_test():
    patients = data.load("rotterdam")
    assert patients.card.licence == "LGPL-2.0-or-later" and not patients.card.class_names
    kinds = {column.name: column.kind for column in patients.card.columns}
    assert kinds.pop("size") == "category" and set(kinds.values()) == {"number"} and "event" not in kinds
    for part, events, longest in ((patients.train, 1713, 7043), (patients.test, 299, 2659)):
        assert part["targets"][:, 1].sum() == events and part["targets"][:, 0].max() == longest
    assert np.median(patients.test["inputs"]["age"]) == 53 and patients.test["inputs"]["nodes"].min() == 1
