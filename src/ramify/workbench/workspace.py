"""A workspace in the hand: the store's repositories, the loaded models, and what needs both."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from ramify.decoding.config import GenerationConfig
from ramify.engine.model import Model, load
from ramify.errors import InputError
from ramify.exchange.duplicates import DuplicateReport, find_duplicates
from ramify.exchange.exporting import ExportReport, export
from ramify.exchange.importing import ImportOptions, ImportReport, import_files
from ramify.exchange.readiness import Readiness, readiness
from ramify.exchange.templates import ExportTemplate, named_template
from ramify.store.database import Database
from ramify.store.records import ActionRecord, CompletionRecord, LogprobsRecord, PreferenceRecord, SampleRecord
from ramify.workbench import editing, generation
from ramify.workbench.beam_tree import BeamTree
from ramify.workbench.blocks import Blocks
from ramify.workbench.exchanging import token_counter
from ramify.workbench.token_by_token import TokenByToken

__all__ = ["Workspace"]

DEFAULT_MODEL = "tiny"


class Workspace:
    """One workspace file, or a PostgreSQL by URL. Models are loaded once, when they are first needed.

    samples, completions, logprobs, facets, judgements, tags, filters, search, beams and history are the store's own.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self.samples = database.samples
        self.completions = database.completions
        self.logprobs = database.logprobs
        self.facets = database.facets
        self.judgements = database.judgements
        self.tags = database.tags
        self.filters = database.filters
        self.search = database.search
        self.beams = database.beams
        self.history = database.history
        self._models: dict[str, Model] = {}

    @classmethod
    def open(cls, path_or_url: str | Path, *, create: bool = True, author: str = "") -> Self:
        """Open a workspace, or make one where there is none. Raises WorkspaceError for what is no workspace of this version."""
        return cls(Database.open(path_or_url, create=create, author=author))

    def close(self) -> None:
        for model in self._models.values():
            model.close()
        self._models.clear()
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Models.

    def model(self, name: str | Model | None = None, *, facet: str | None = None) -> Model:
        """A loaded model: by name, or the facet's target (its own, else its ancestors', else the workspace's, else tiny)."""
        if isinstance(name, Model):
            return name
        if name is None and facet is not None:
            name = self.facets.effective(facet).target_model
        name = name or self.database.settings.get("target_model") or DEFAULT_MODEL
        if name not in self._models:
            self._models[name] = load(name)
        return self._models[name]

    # Making completions.

    def generate(
        self,
        sample: SampleRecord | int,
        *,
        model: str | Model | Sequence[str | Model] | None = None,
        facet: str | None = None,
        config: GenerationConfig | None = None,
        prefill: str | None = None,
        n: int | None = None,
        **fields: Any,
    ) -> CompletionRecord | list[CompletionRecord]:
        """A saved completion; with `n`, or several models, a list."""
        several = n is not None or (model is not None and not isinstance(model, str | Model))
        models = list(model) if model is not None and not isinstance(model, str | Model) else [model]
        settings = _config(config, {**fields, **({"num_return_sequences": n} if n is not None else {})})
        record = self._sample(sample)
        found: list[CompletionRecord] = []
        for each in models:
            loaded = self.model(each, facet=facet)
            found += generation.generate(self.database, loaded, record, settings, prefill=prefill)
        return found if several or len(found) != 1 else found[0]

    def draft(
        self,
        sample: SampleRecord | int,
        *,
        model: str | Model | None = None,
        facet: str | None = None,
        config: GenerationConfig | None = None,
        prefill: str | None = None,
        **fields: Any,
    ) -> generation.Draft:
        """A completion that streams into the workspace as a draft."""
        loaded = self.model(model, facet=facet)
        return generation.Draft(self.database, loaded, self._sample(sample), _config(config, fields), prefill=prefill)

    def continue_(
        self,
        completion: CompletionRecord | int,
        *,
        model: str | Model | None = None,
        config: GenerationConfig | None = None,
        **fields: Any,
    ) -> CompletionRecord:
        """Go on where a truncated completion ends, with the model that made it unless another is named."""
        parent = self._completion(completion)
        loaded = self.model(model if model is not None else self._maker(parent))
        return generation.continue_completion(self.database, loaded, parent, _config(config, fields))[0]

    def write(self, sample: SampleRecord | int, text: str, *, model: str = "manual", truncated: bool = False) -> CompletionRecord:
        """Keep a text that was typed, or pasted under the name of what wrote it."""
        return editing.write(self.database, self._sample(sample), text, model=model, truncated=truncated)

    def edit(self, completion: CompletionRecord | int, text: str, *, model: str | None = None) -> CompletionRecord:
        """A child with the new text; `model` names who wrote it, otherwise the name stays."""
        parent = self._completion(completion)
        maker = self._maker(parent) if parent.token_ids is not None else None
        loaded = self.model(maker) if maker is not None else None
        return editing.edit(self.database, parent, text, model=loaded, name=model)

    def token_by_token(
        self,
        sample: SampleRecord | int,
        *,
        model: str | Model | None = None,
        facet: str | None = None,
        prefill: str | None = None,
    ) -> TokenByToken:
        """A completion to pick token by token."""
        return TokenByToken(self.database, self.model(model, facet=facet), self._sample(sample), prefill=prefill)

    def beam_tree(
        self,
        sample: SampleRecord | int,
        *,
        model: str | Model | None = None,
        facet: str | None = None,
        prefill: str | None = None,
        title: str = "",
    ) -> BeamTree:
        """The sample's tree under a model: the one that was grown before, or a new one."""
        loaded = self.model(model, facet=facet)
        return BeamTree.start(self.database, loaded, _id(sample), prefill=prefill, title=title)

    def blocks(self, sample: SampleRecord | int, *, model: str | Model | None = None, facet: str | None = None) -> Blocks:
        """A completion to write paragraph by paragraph."""
        return Blocks(self.database, self.model(model, facet=facet), self._sample(sample))

    def score(self, completion: CompletionRecord | int, *, model: str | Model | None = None, top: int = 5) -> LogprobsRecord:
        """Measure a completion under any model and keep the measures."""
        record = self._completion(completion)
        return generation.score(self.database, self.model(model), record, top=top)

    # Judging.

    def rate(self, completion: CompletionRecord | int, facet: str, rating: int | None) -> None:
        """0 to 10 under a facet; None takes it back."""
        self.judgements.rate(_id(completion), facet, rating)

    def prefer(
        self, better: CompletionRecord | int, worse: CompletionRecord | int, facet: str, *, tie: bool = False
    ) -> PreferenceRecord:
        return self.judgements.prefer(_id(better), _id(worse), facet, tie=tie)

    def undo(self) -> ActionRecord | None:
        return self.history.undo()

    def redo(self) -> ActionRecord | None:
        return self.history.redo()

    # Files.

    def import_files(self, *paths: str | Path, **options: Any) -> ImportReport:
        """Bring data sets, benchmarks or another workspace in; the options are those of `ImportOptions`, and `told`."""
        told = options.pop("told", None)
        return import_files(self.database, [str(path) for path in paths], ImportOptions(**options), told=told)

    def export(self, kind: str | ExportTemplate, out: str | Path, *, facets: Sequence[str] = (), **options: Any) -> ExportReport:
        """Write a training set: by a kind ("sft", "dpo", …) with settings of `ExportTemplate`, by a saved template's name, or by
        a template. overwrite, password, dry_run and told are those of `exporting.export`.
        """
        how = {name: options.pop(name) for name in ("overwrite", "password", "dry_run", "told") if name in options}
        if isinstance(kind, str):
            template = named_template(self.database, kind, {**options, **({"facets": list(facets)} if facets else {})})
        elif options or facets:
            raise InputError("a template says everything itself; change it with dataclasses.replace")
        else:
            template = kind
        return export(self.database, template, out, count_tokens=token_counter(self.model), **how)

    def readiness(self, facet: str, **options: Any) -> Readiness:
        """What could go out under a facet, and what could not and why; `readiness_page` makes a page of it."""
        return readiness(self.database, facet, **options)

    def duplicates(self, **options: Any) -> DuplicateReport:
        """Samples or completions that are like each other: measure, near, of."""
        return find_duplicates(self.database, **options)

    # What was meant.

    def _sample(self, sample: SampleRecord | int) -> SampleRecord:
        return self.samples.get(sample) if isinstance(sample, int) else sample

    def _completion(self, completion: CompletionRecord | int) -> CompletionRecord:
        return self.completions.get(completion) if isinstance(completion, int) else completion

    def _maker(self, completion: CompletionRecord) -> str | None:
        """The model that made it, where it is one that can be loaded; otherwise the workspace's."""
        return completion.model if completion.fingerprint else None


def _id(record: SampleRecord | CompletionRecord | int) -> int:
    return record if isinstance(record, int) else record.id


def _config(config: GenerationConfig | None, fields: dict[str, Any]) -> GenerationConfig:
    config = GenerationConfig() if config is None else config
    if not isinstance(config, GenerationConfig):
        raise InputError(f"config is a {type(config).__name__}; give a GenerationConfig, or its settings as keywords")
    return config.replace(**fields) if fields else config
