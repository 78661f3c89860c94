"""Recipes: everything a tagger is built from, as one strict, savable configuration."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from reeltag.calibration import CalibrationConfig
from reeltag.config import check_choice, check_range, from_json, to_json
from reeltag.encoders import (
    JointEncoder,
    PosterEncoder,
    TextEncoder,
    open_joint_encoder,
    open_poster_encoder,
    open_text_encoder,
)
from reeltag.encoders.ocr import open_ocr_engine
from reeltag.encoders.trailers import open_shot_expert
from reeltag.encoders.trailers.contract import SHOT_MODALITIES, ShotExpert
from reeltag.encoders.trailers.shots import ShotConfig
from reeltag.errors import ConfigError, shown
from reeltag.graph.credits import CreditConfig
from reeltag.graph.link_credits import LinkCreditConfig
from reeltag.graph.presets import film_preset
from reeltag.labels import LabelConfig
from reeltag.models import MODELS
from reeltag.models.clusters import XMLC_PUBLISHED
from reeltag.models.gating import GATING_PUBLISHED
from reeltag.models.poster import POSTER_PUBLISHED
from reeltag.selftraining import SelfTrainingConfig
from reeltag.splits import SplitConfig

MODALITIES = ("plot", "title", "year", "credits", "poster", "poster_text", "joint", "fields", *SHOT_MODALITIES)
READ_BY_DEFAULT = ("plot", "title", "year", "credits", "poster")
TOKEN_MODALITIES = ("plot", "title", "poster", "poster_text", *SHOT_MODALITIES)
CREDIT_FEATURES = ("profile", "links", "sum", "standing", "people", "votes")


@dataclass(frozen=True, kw_only=True)
class FeatureConfig:
    """What is read of a title.

    Attributes:
        modalities: Any of ``plot``, ``title``, ``year``, ``credits``, ``poster``, ``poster_text`` (the words on the
            poster), ``joint`` (poster and plot read together), ``fields`` (list fields taken as given), and of the
            trailer ``image`` (what its pictures show), ``scene`` (where it plays), ``motion`` and ``audio``; all after
            ``poster`` only when asked for. A modality that no training title has is left out of the model, and said so.
        fields: List fields that ``fields`` reads, such as ``genres`` when tags are learned; never the learned one.
        plot_encoders: How plots (plot and outline joined) are read: ``tfidf``, ``minilm``, ``sentence:MODEL``,
            ``transformer:MODEL``.
        title_encoders: The same for titles.
        poster_encoders: How posters are read: ``descriptors``, ``onnx:FOLDER``, ``clip:MODEL``.
        poster_text_encoders: How the words on posters are read once an OCR engine has found them: as for plots, but
            not ``tfidf``.
        ocr_engine: What finds them: ``rapidocr``, ``tesserocr``, ``vision:MODEL``.
        tokens: Modalities whose encoders give one vector per patch or word piece in place of one per title, where they
            can (``onnx``, ``clip``; ``minilm``, ``sentence``, ``transformer``), and modalities of the trailer that are
            to be read shot by shot, for models that read tokens. Else a trailer is the mean of its shots.
        patch_grid: Patches along a side of a poster at most; finer ones are averaged.
        token_limit: Word pieces of a text that are read.
        joint_encoders: How poster and plot are read together: ``blip:MODEL``, ``bridgetower:MODEL``; a title that
            lacks one of the two lacks ``joint``.
        image_encoders: How the pictures of a trailer are read: ``descriptors``, ``onnx:FOLDER``, ``clip:MODEL``,
            ``transformer:MODEL``.
        scene_encoders: The same by models that know places.
        motion_encoders: How its motion is read: ``flow``, ``video:MODEL``.
        audio_encoders: How its sound is read: ``spectral``, ``onnx:FOLDER``, ``ast:MODEL``, ``clap:MODEL``.
        shots: How a trailer is cut into shots, and what of them is read.
        shot_limit: Shots of a trailer that are read as tokens; of more, so many that are spread over it.
        credit_features: How credits are read: ``profile`` (leave-one-out counts), ``links`` (cross-fitted scores of
            an embedding), ``sum`` (sum of the vectors of an embedding, equation 4 of IDKG; in-sample, and not IDKG's
            TransH of 200 dimensions trained with SGD but the embedding of ``links``), ``standing`` (how many people
            are known and how many links they have: what IDKG's attention teacher reads, no input of a model),
            ``people`` (which people of the graph they are, sparse: what MM-GATBT reads), ``votes`` (leave-one-out
            shares of the people's films with a label, sparse: for thousands of labels).
            Explanations name people only with ``profile`` among them: without it ``explain`` shows the credits as a
            modality, and nobody.
        vote_fields: Other list fields that ``votes`` reads of the people's films, such as ``genres``: of all training
            and background films that have them.
        credits: Settings of the credit profile; ``roles`` and ``background`` count for all of them.
        links: Settings of the embedding behind ``links`` and ``sum``.
    """

    modalities: tuple[str, ...] = READ_BY_DEFAULT
    plot_encoders: tuple[str, ...] = ("tfidf", "minilm")
    title_encoders: tuple[str, ...] = ("minilm",)
    poster_encoders: tuple[str, ...] = ("descriptors",)
    poster_text_encoders: tuple[str, ...] = ("minilm",)
    ocr_engine: str = "rapidocr"
    tokens: tuple[str, ...] = ()
    patch_grid: int = 7
    token_limit: int = 64
    joint_encoders: tuple[str, ...] = ()
    image_encoders: tuple[str, ...] = ("descriptors",)
    scene_encoders: tuple[str, ...] = ()
    motion_encoders: tuple[str, ...] = ("flow",)
    audio_encoders: tuple[str, ...] = ("spectral",)
    shots: ShotConfig = field(default_factory=ShotConfig)
    shot_limit: int = 128
    credit_features: tuple[str, ...] = ("profile",)
    vote_fields: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    credits: CreditConfig = field(default_factory=CreditConfig)
    links: LinkCreditConfig = field(default_factory=LinkCreditConfig)

    def __post_init__(self) -> None:
        if not self.modalities:
            raise ConfigError("FeatureConfig.modalities must name at least one modality")
        for modality in self.modalities:
            check_choice("FeatureConfig", "modalities", modality, MODALITIES)
        if len(set(self.modalities)) < len(self.modalities):
            raise ConfigError(f"FeatureConfig.modalities must name each once; got {', '.join(self.modalities)}")
        for name in self.credit_features:
            check_choice("FeatureConfig", "credit_features", name, CREDIT_FEATURES)
        if not self.credit_features or len(set(self.credit_features)) < len(self.credit_features):
            got = ", ".join(self.credit_features) or "none"
            raise ConfigError(f"FeatureConfig.credit_features must name one or more, each once; got {got}")
        for modality in ("plot", "title", "poster", "poster_text", "joint", *SHOT_MODALITIES):
            names = [name.partition(".")[2] for name, _ in self.encoders_of(modality)]  # an unknown one is named here
            if modality in self.modalities and not names:
                raise ConfigError(f"FeatureConfig.{modality}_encoders must name at least one encoder")
            if len(set(names)) < len(names):
                specs = ", ".join(spec for _, spec in self.encoders_of(modality))
                raise ConfigError(
                    f"FeatureConfig.{modality}_encoders must differ in name (the last part of a path); got {specs}"
                )

        if "fields" in self.modalities and not self.fields:
            raise ConfigError("FeatureConfig.fields must name at least one list field for the modality 'fields'")
        self._check_tokens()

    def _check_tokens(self) -> None:
        """Check the settings of posters' words and of tokens."""
        for modality in self.tokens:
            check_choice("FeatureConfig", "tokens", modality, TOKEN_MODALITIES)
        check_range("FeatureConfig", "patch_grid", self.patch_grid, 1, 64)
        check_range("FeatureConfig", "token_limit", self.token_limit, 1, 4096)
        check_range("FeatureConfig", "shot_limit", self.shot_limit, 1, 4096)
        if "tfidf" in self.poster_text_encoders:
            raise ConfigError(
                "FeatureConfig.poster_text_encoders must be pre-trained (minilm, sentence:MODEL, transformer:MODEL); "
                "got tfidf"
            )
        if "poster_text" in self.modalities:
            open_ocr_engine(self.ocr_engine)  # an unknown one is named here

    def encoders_of(self, modality: str) -> list[tuple[str, str]]:
        """Return (block name, encoder specification) of every block that an encoder makes of a modality."""
        opened: list[tuple[TextEncoder | PosterEncoder | JointEncoder | ShotExpert, str]] = []
        texts = {"plot": self.plot_encoders, "title": self.title_encoders, "poster_text": self.poster_text_encoders}
        if modality in texts:
            specs = texts[modality]
            opened += [(open_text_encoder(spec), spec) for spec in specs]
        elif modality == "poster":
            opened += [(open_poster_encoder(spec), spec) for spec in self.poster_encoders]
        elif modality == "joint":
            opened += [(open_joint_encoder(spec), spec) for spec in self.joint_encoders]
        elif modality in SHOT_MODALITIES:
            opened += [(open_shot_expert(modality, spec), spec) for spec in self._shot_specs(modality)]
        return [(f"{modality}.{encoder.name}", spec) for encoder, spec in opened]

    def _shot_specs(self, modality: str) -> tuple[str, ...]:
        return {
            "image": self.image_encoders,
            "scene": self.scene_encoders,
            "motion": self.motion_encoders,
            "audio": self.audio_encoders,
        }[modality]


def reads_tokens(model: str) -> bool:
    """Return whether a model reads sequences of tokens."""
    return bool(getattr(MODELS[model], "reads_tokens", False))


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything a tagger is built from.

    Attributes:
        name: Name of the recipe.
        model: Name of a model.
        model_settings: Settings of that model; its defaults when empty.
        labels: How the label space is chosen.
        features: What is read of a title.
        splits: How a catalogue without splits is split.
        calibration: How scores become probabilities and decisions.
        neighbours: Training titles kept in the artefact to be shown as the nearest ones.
        train_on_background: Learn from titles of the ``background`` split with known labels too.
        self_training: Whether and how titles without known labels are learned from.
    """

    name: str = "fusion"
    model: str = "fusion"
    model_settings: dict[str, Any] = field(default_factory=dict)
    labels: LabelConfig = field(default_factory=LabelConfig)
    features: FeatureConfig = field(default_factory=FeatureConfig)
    splits: SplitConfig = field(default_factory=SplitConfig)
    calibration: CalibrationConfig = field(default_factory=CalibrationConfig)
    neighbours: int = 50_000
    train_on_background: bool = False
    self_training: SelfTrainingConfig = field(default_factory=SelfTrainingConfig)

    def __post_init__(self) -> None:
        check_choice("Recipe", "model", self.model, MODELS)
        check_range("Recipe", "neighbours", self.neighbours, 0, 100_000_000)
        self.model_config()
        if "fields" in self.features.modalities and self.labels.field in self.features.fields:
            raise ConfigError(
                f"FeatureConfig.fields must not name the field that is learned; got '{self.labels.field}', whose words "
                "would be read off the titles they are asked of"
            )
        if set(self.features.tokens) & set(self.features.modalities) and not reads_tokens(self.model):
            able = ", ".join(name for name in MODELS if reads_tokens(name))
            raise ConfigError(
                f"FeatureConfig.tokens must be empty for the model '{self.model}', which reads one vector per title "
                f"({able} read tokens); got {', '.join(self.features.tokens)}"
            )

    def model_config(self) -> Any:
        """Return the settings of the model, checked."""
        return from_json(MODELS[self.model].config_class, self.model_settings, f"{self.model} settings")

    def to_json(self) -> dict[str, Any]:
        """Return every setting, the model's defaults spelled out."""
        return to_json(replace(self, model_settings=to_json(self.model_config())))


# IDKG as the paper has it (seed 001, section 4.1); what each setting leaves out is said in models/idkg.py
IDKG_PUBLISHED: dict[str, Any] = {
    "dim": 512,
    "batch_norm": True,
    "masked": False,
    "hidden_layers": 0,
    "straight": False,
    "dropout": 0.0,
    "input_dropout": 0.0,
    "modality_dropout": 0.0,
    "n_members": 1,
    "teacher_weight": 1.0,
    "contrast": "gcacl",
    "contrast_weight": 1.0,
    "contrast_settings": {"normalise": False},
    "training": {
        "epochs": 15,
        "batch_size": 64,
        "learning_rate": 1e-3,
        "weight_decay": 0.01,
        "schedule": "constant",
        "warmup": 0.0,
    },
}

# IDKG(GMU) of the paper's table 3: gated units, which weigh tanh of the features and have no teacher
IDKG_GMU: dict[str, Any] = {**IDKG_PUBLISHED, "fusion": "gmu", "squash": True, "teacher_weight": 0.0}

_TAUGHT = FeatureConfig(credit_features=("profile", "standing"))
_IN_SAMPLE = FeatureConfig(
    modalities=("plot", "credits", "poster"),
    plot_encoders=("minilm",),  # CLIP's text tower where the user has it: --plot-encoder transformer:MODEL
    credit_features=("sum", "standing"),
    credits=CreditConfig(background=False, leave_one_out=False),
    links=LinkCreditConfig(embedding=replace(film_preset(), scorer_settings={"dim": 100})),  # 200 numbers an entity
)
_ON_POSTERS = FeatureConfig(modalities=("poster", "poster_text"), tokens=("poster", "poster_text"))
# what can be seen and heard of trailers without a download, shot by shot; --scene-encoder adds where they play
_SEEN_AND_HEARD = ("image", "motion", "audio")
_WITH_TRAILERS = FeatureConfig(modalities=(*READ_BY_DEFAULT, *_SEEN_AND_HEARD), tokens=_SEEN_AND_HEARD)
_ON_TRAILERS = FeatureConfig(modalities=_SEEN_AND_HEARD, tokens=_SEEN_AND_HEARD)
# votes read label by label, and genres of far more films than have tags
_VOTES = FeatureConfig(
    modalities=("plot", "title", "year", "credits"),
    credit_features=("votes",),
    vote_fields=("genres",),
)
_PLOTS = FeatureConfig(modalities=("plot",), plot_encoders=("minilm",))
_TAGS = LabelConfig(field="tags", min_count=20)
_RIVALS = ("early", "late", "gmu", "centralnet", "mfn", "refnet", "mmbt")
_WITHOUT_NETWORK = ("knn", "labeltree")

RECIPES: dict[str, Recipe] = {
    "linear": Recipe(name="linear", model="linear"),
    "fusion": Recipe(name="fusion", model="fusion"),
    "idkg": Recipe(name="idkg", model="idkg", features=_TAUGHT),
    "idkg-published": Recipe(name="idkg-published", model="idkg", model_settings=IDKG_PUBLISHED, features=_IN_SAMPLE),
    "idkg-gmu": Recipe(name="idkg-gmu", model="idkg", model_settings=IDKG_GMU, features=_IN_SAMPLE),
    "poster": Recipe(name="poster", model="poster", model_settings={"loss": "bce"}, features=_ON_POSTERS),
    "poster-published": Recipe(
        name="poster-published", model="poster", model_settings=POSTER_PUBLISHED, features=_ON_POSTERS
    ),
    **{name: Recipe(name=name, model=name) for name in (*_RIVALS, *_WITHOUT_NETWORK)},
    "xmlc": Recipe(name="xmlc", model="xmlc", labels=_TAGS, features=_VOTES, train_on_background=True),
    "xmlc-published": Recipe(
        name="xmlc-published",
        model="clusters",
        model_settings=XMLC_PUBLISHED,
        labels=_TAGS,
        features=_PLOTS,  # BERT where the user has it: --plot-encoder transformer:MODEL
    ),
    "trailer": Recipe(
        name="trailer",
        model="gating",
        model_settings={"join": "star"},  # of up to eight experts there are sixty-four pairs
        features=_WITH_TRAILERS,
    ),
    "trailer-published": Recipe(
        name="trailer-published", model="gating", model_settings=GATING_PUBLISHED, features=_ON_TRAILERS
    ),
    "mmgatbt": Recipe(name="mmgatbt", model="mmgatbt", features=FeatureConfig(credit_features=("profile", "people"))),
}


def recipe(name: str) -> Recipe:
    """Return a recipe by name.

    Raises:
        ConfigError: There is no such recipe.
    """
    if name not in RECIPES:
        raise ConfigError(f"recipe {shown(name)} is unknown; known: {', '.join(RECIPES)}, or a file FILE.json")
    return RECIPES[name]


def recipe_from_json(data: object, where: str = "recipe") -> Recipe:
    """Read what ``Recipe.to_json`` returned, strictly."""
    return from_json(Recipe, data, where)
