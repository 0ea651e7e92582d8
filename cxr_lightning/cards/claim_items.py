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
        ("summary in parts", "Write it; the numbers are in model_card.md."),
    ),
    "Introduction": (
        ("background and role of the AI", "Write what is known, and where the AI would stand."),
        ("questions and expectations", "State them; say which were set before the training."),
    ),
    "Methods: study": (
        ("data from before or after the plan", "Say prospective or retrospective."),
        ("goal of the study", "State it, for example a comparison of recipes."),
    ),
    "Methods: data": (
        ("data sources", "Name the archives, places, dates, permissions and licences."),
        ("who is included and excluded", "Give the rules by which patients came into the archive."),
        ("preprocessing", ""),
        ("parts of the data that were used", ""),
        ("removal of names", "Say how, and by whom."),
        ("what is missing or broken", ""),
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
        ("what no two partitions share", ""),
        ("planned number of test cases", "Say how it was determined before the study."),
    ),
    "Methods: model": (
        ("the model in detail", ""),
        ("software", ""),
        ("weights at the start", ""),
    ),
    "Methods: training": (
        ("the training in detail", ""),
        ("choice of the tested weights", ""),
        ("several networks as one", ""),
    ),
    "Methods: evaluation": (
        ("metrics", ""),
        ("uncertainty of the numbers", ""),
        (
            "do small changes matter",
            "Train several seeds (cxr-train -m seed=0,1,2) and report their spread.",
        ),
        ("where the network looks", ""),
        ("test on internal data", ""),
        ("test on external data", ""),
        ("number in a trial register", "Give the number, or say that there is none."),
    ),
    "Results: data": (
        ("how many were used and left out", ""),
        ("who is in each partition", "Give age, sex and severity in each partition."),
    ),
    "Results: performance": (
        ("results with their uncertainty", ""),
        ("results by class", ""),
        (
            "what went wrong, and why",
            "Look at the mistakes with a radiologist, and say what they share.",
        ),
    ),
    "Discussion": (
        ("limits", "Discuss them; model_card.md lists those that the run knows."),
        ("use in practice", "Discuss them; model_card.md has a draft."),
    ),
    "Other information": (
        ("where the plan and the details are", "Refer to the protocol, if there is one."),
        ("where software, model and data can be had", "Say where each can be had."),
        ("who paid, and what they decided", "State them."),
    ),
}


def items() -> list[Item]:
    """All 44, in order."""
    listed = [(section, *row) for section, rows in SECTIONS.items() for row in rows]
    return [Item(number, *row) for number, row in enumerate(listed, start=1)]
