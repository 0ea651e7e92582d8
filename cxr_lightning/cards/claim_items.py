"""The 44 items of CLAIM 2024, in our own short words, and what remains for the authors to write.

The items are numbered as in Tejani et al., Radiology: Artificial Intelligence 2024;6(4):e240300.
Their text is the journal's, and is not repeated here.
"""

from dataclasses import dataclass

SOURCE = "https://doi.org/10.1148/ryai.240300"


@dataclass(frozen=True)
class Item:
    """topic: what it asks for. action: what a run cannot know; empty where a run knows all."""

    number: int
    section: str
    topic: str
    action: str = ""


SECTIONS: dict[str, tuple[tuple[str, str], ...]] = {
    "Title and abstract": (
        ("title names AI and its kind", "Say so in the title, for example “deep learning”."),
        ("structured abstract", "Write it; the numbers are in model_card.md."),
    ),
    "Introduction": (
        ("background and role of the AI", "Write what is known, and where the AI would stand."),
        ("aims and hypotheses", "State them; say which were set before the training."),
    ),
    "Methods: study": (
        ("prospective or retrospective", "State it."),
        ("goal of the study", "State it, for example a comparison of recipes."),
    ),
    "Methods: data": (
        ("data sources", "Name the archives, places, dates, permissions and licences."),
        ("who is included and excluded", "Give the rules by which patients came into the archive."),
        ("preprocessing", ""),
        ("selection of subsets", ""),
        ("de-identification", "Say how, and by whom."),
        ("missing data", ""),
        (
            "how images were acquired",
            "Give views, devices and exposure; columns of a manifest help.",
        ),
    ),
    "Methods: reference standard": (
        (
            "how the reference was obtained",
            "Say what a label rests on, for example culture or PCR.",
        ),
        ("why this reference", "Give the reason, and its known errors."),
        ("who annotated", "Say who labelled, how many, and their training."),
        (
            "annotation of the test images",
            "Say whether the test images were labelled with more care.",
        ),
        ("variability of annotators", "Measure it, or say that it is not known."),
    ),
    "Methods: partitions and sample": (
        ("how images were partitioned", ""),
        ("level at which partitions are disjoint", ""),
        ("intended sample size", "Say how it was determined before the study."),
    ),
    "Methods: model": (
        ("the model in detail", ""),
        ("software", ""),
        ("initial weights", ""),
    ),
    "Methods: training": (
        ("the training in detail", ""),
        ("how the final model was chosen", ""),
        ("ensembles", ""),
    ),
    "Methods: evaluation": (
        ("metrics", ""),
        ("significance and uncertainty", ""),
        ("robustness", "Train several seeds (cxr-train -m seed=0,1,2) and report their spread."),
        ("explanation", ""),
        ("test on internal data", ""),
        ("test on external data", ""),
        ("trial registration", "Give the number, or say that there is none."),
    ),
    "Results: data": (
        ("numbers included and excluded", ""),
        ("characteristics in each partition", "Give age, sex and severity in each partition."),
    ),
    "Results: performance": (
        ("performance with uncertainty", ""),
        ("diagnostic performance and its precision", ""),
        (
            "analysis of failures",
            "Look at the mistakes with a radiologist, and say what they share.",
        ),
    ),
    "Discussion": (
        ("limitations", "Discuss them; model_card.md lists those that the run knows."),
        ("implications and intended use", "Discuss them; model_card.md has a draft."),
    ),
    "Other information": (
        ("protocol or technical details", "Refer to the protocol, if there is one."),
        ("availability of software, model, data", "Say where each can be had."),
        ("funding and the funders' role", "State them."),
    ),
}


def items() -> list[Item]:
    """All 44, in order."""
    listed = [(section, *row) for section, rows in SECTIONS.items() for row in rows]
    return [Item(number, *row) for number, row in enumerate(listed, start=1)]
