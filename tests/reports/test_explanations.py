"""The section of a page that explains a run: how examples are named, and how sequences are written."""

from typing import Any

import pytest

from jaxresearch.reports import explanations

WHY = {"why": "Not asked."}


def shown(texts, **more):
    one: dict[str, Any] = {"example": 4, "predicted": "a", "true": "b", "probability": 0.75, "is_mistake": True}
    one |= {"shown": texts, "values": [1.0, *[-0.5] * (len(texts) - 1)], **more}
    attributions = {"method": "saliency", "layer": None, "baseline": 0.0, "target": "a", "examples": [one]}
    content = {"shown_seed": 0, "seeds": [0], "importance": WHY, "influence": WHY, "robustness": WHY}
    made = explanations.section({**content, "attributions": attributions})["attributions"]
    return made["examples"][0], made["note"]


@pytest.mark.parametrize("texts", [["A", "C", "N", "T"], ["ACG", "TTT", "NNN"]])
def test_dna_is_written_as_one_sequence_of_letters(texts):
    example, note = shown(texts)
    assert example["gap"] == "" and [part["text"] for part in example["texts"]] == texts
    assert example["texts"][0]["percent"] == 80 and example["texts"][0]["colour"] != example["texts"][1]["colour"]
    assert note == "Saliency of a."


def test_words_stand_apart():
    assert shown(["GAT", "zinc", "<pad>"])[0]["gap"] == " "


def test_tokens_without_names_show_their_positions():
    example, note = shown(["1:17", "2:0"])
    assert example["gap"] == " " and example["texts"][0]["text"] == "1:17"
    assert note.endswith("The tokens have no names: 3:17 is token 17 at position 3, counted from 1.")


def test_an_example_is_named_by_its_row():
    assert shown(["A"], name="row 12")[0]["caption"] == "row 12: predicted a (75.0 %), is b"
    assert shown(["A"])[0]["caption"] == "example 4 of the test part: predicted a (75.0 %), is b"
