"""Labels added to a trained tagger from a handful of examples: what their heads read, how they are fitted, storage."""

from reeltag.added.choice import FieldExamples, check_examples, check_known, examples_in_field, films_of
from reeltag.added.head import MIN_BACKGROUND, Head, HeadFit, Material, fit_head, usual_share
from reeltag.added.inputs import Background, HeadInputs, Inputs, inputs_of, vectors_of_titles
from reeltag.added.labels import AddedEvidence, AddedLabel, AddedLabels, Example, TokenSpeaker, new_label

__all__ = [
    "MIN_BACKGROUND",
    "AddedEvidence",
    "AddedLabel",
    "AddedLabels",
    "Background",
    "Example",
    "FieldExamples",
    "Head",
    "HeadFit",
    "HeadInputs",
    "Inputs",
    "Material",
    "TokenSpeaker",
    "check_examples",
    "check_known",
    "examples_in_field",
    "films_of",
    "fit_head",
    "inputs_of",
    "new_label",
    "usual_share",
    "vectors_of_titles",
]
