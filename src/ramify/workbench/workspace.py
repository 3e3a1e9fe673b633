"""A workspace in the hand: the store's repositories, the loaded models, and what needs both."""

from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any, Self

from ramify.decoding.config import GenerationConfig
from ramify.engine.model import Model, load
from ramify.errors import InputError, UnsupportedError
from ramify.exchange.duplicates import DuplicateReport, find_duplicates
from ramify.exchange.exporting import ExportReport, export
from ramify.exchange.importing import ImportOptions, ImportReport, import_files
from ramify.exchange.planning import CountTokens
from ramify.exchange.readiness import Readiness, readiness
from ramify.exchange.templates import ExportTemplate, named_template
from ramify.models.base import TextCodec
from ramify.models.registry import is_remote
from ramify.models.remote import Remote, connect
from ramify.store.database import Database
from ramify.store.records import (
    ActionRecord,
    CompletionRecord,
    FacetRecord,
    LogprobsRecord,
    PreferenceRecord,
    SampleRecord,
)
from ramify.workbench import editing, generation, scoring
from ramify.workbench.asking import ALTERNATIVES, AnyModel
from ramify.workbench.beam_tree import BeamTree
from ramify.workbench.beginnings import inside
from ramify.workbench.blocks import Blocks
from ramify.workbench.bulk import Bulk, BulkReport, BulkStep, finish
from ramify.workbench.bulk_lanes import Chosen, bulk_generate, bulk_score
from ramify.workbench.drafts import Draft
from ramify.workbench.exchanging import token_counter
from ramify.workbench.remote_writing import RemoteDraft
from ramify.workbench.token_by_token import TokenByToken

__all__ = ["Workspace"]

DEFAULT_MODEL = "tiny"


class Workspace:
    """One workspace file, or a PostgreSQL by URL. Models are loaded once, when they are first needed.

    samples, completions, logprobs, facets, judgements, unanswered, tags, filters, search, beams and history are the store's own.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self.samples = database.samples
        self.completions = database.completions
        self.logprobs = database.logprobs
        self.facets = database.facets
        self.judgements = database.judgements
        self.unanswered = database.unanswered
        self.tags = database.tags
        self.filters = database.filters
        self.search = database.search
        self.beams = database.beams
        self.history = database.history
        self.load: Callable[[str], Model] = load
        """How a name becomes a model; a server puts its own in, so that a model is loaded once for all its routes."""
        self._models: dict[str, AnyModel] = {}

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

    def model(self, name: str | AnyModel | None = None, *, facet: FacetRecord | str | None = None) -> AnyModel:
        """A model, loaded or connected to: by name, or the facet's target (its own, else its ancestors', else the workspace's,
        else tiny). `openai:NAME` and registered remotes are connected to; nothing is sent yet."""
        if isinstance(name, Model | Remote):
            return name
        if name is None and facet is not None:
            name = self.facets.effective(facet).target_model
        name = name or self.database.settings.get("target_model") or DEFAULT_MODEL
        if name not in self._models:
            self._models[name] = connect(name) if is_remote(name) else self.load(name)
        return self._models[name]

    def _local(self, name: str | AnyModel | None, facet: FacetRecord | str | None, what: str) -> Model:
        found = self.model(name, facet=facet)
        if isinstance(found, Remote):
            raise UnsupportedError(
                f"{found.name} is remote and decodes no branches, which {what} needs; use a local model, or generate, draft, "
                "continue_ or score with this one"
            )
        return found

    # Making completions.

    def generate(
        self,
        sample: SampleRecord | int,
        *,
        model: str | AnyModel | Sequence[str | AnyModel] | None = None,
        facet: FacetRecord | str | None = None,
        config: GenerationConfig | None = None,
        prefill: str | None = None,
        n: int | None = None,
        **fields: Any,
    ) -> CompletionRecord | list[CompletionRecord]:
        """A saved completion; with `n`, or several models, a list. Several models, local and remote, work at once."""
        several = n is not None or (model is not None and not isinstance(model, str | AnyModel))
        settings = _config(config, fields, n)
        loaded = [self.model(each, facet=facet) for each in _several(model)]
        found = generation.generate(self.database, loaded, self._sample(sample), settings, prefill=prefill)
        return found if several or len(found) != 1 else found[0]

    def draft(
        self,
        sample: SampleRecord | int,
        *,
        model: str | AnyModel | None = None,
        facet: FacetRecord | str | None = None,
        config: GenerationConfig | None = None,
        prefill: str | None = None,
        **fields: Any,
    ) -> Draft | RemoteDraft:
        """A completion that streams into the workspace as a draft."""
        loaded = self.model(model, facet=facet)
        return generation.draft(self.database, loaded, self._sample(sample), _config(config, fields), prefill=prefill)

    def continue_(
        self,
        completion: CompletionRecord | int,
        *,
        model: str | AnyModel | None = None,
        config: GenerationConfig | None = None,
        n: int | None = None,
        **fields: Any,
    ) -> CompletionRecord | list[CompletionRecord]:
        """Go on where a truncated completion ends, with the model that made it unless another is named; with `n` a list."""
        parent = self._completion(completion)
        loaded = self.model(model if model is not None else self._maker(parent))
        settings = _config(config, fields, n)
        codec = partial(self._codec, parent)
        found = generation.continue_completion(self.database, loaded, parent, settings, codec=codec)
        return found if n is not None or len(found) != 1 else found[0]

    def write(self, sample: SampleRecord | int, text: str, *, model: str = "manual", truncated: bool = False) -> CompletionRecord:
        """Keep a text that was typed, or pasted under the name of what wrote it."""
        return editing.write(self.database, self._sample(sample), text, model=model, truncated=truncated)

    def edit(self, completion: CompletionRecord | int, text: str, *, model: str | None = None) -> CompletionRecord:
        """A child with the new text; `model` names who wrote it, otherwise the name stays."""
        parent = self._completion(completion)
        maker = self._maker(parent) if parent.token_ids is not None else None
        loaded = self._local(maker, None, "an edit of its tokens") if maker is not None else None
        return editing.edit(self.database, parent, text, model=loaded, name=model)

    def token_by_token(
        self,
        sample: SampleRecord | int,
        *,
        model: str | Model | None = None,
        facet: FacetRecord | str | None = None,
        prefill: str | None = None,
    ) -> TokenByToken:
        """A completion to pick token by token."""
        return TokenByToken(self.database, self._local(model, facet, "token by token"), self._sample(sample), prefill=prefill)

    def branch(
        self, completion: CompletionRecord | int, position: int | None = None, *, model: str | Model | None = None
    ) -> TokenByToken:
        """A completion to pick token by token that begins with the first `position` tokens of another (all by default).

        It is the other's child. model: the one that made it unless another is named. Raises InputError behind an EOS.
        """
        parent = self._completion(completion)
        loaded = self._local(model if model is not None else self._maker(parent), None, "branching from a token")
        start = inside(self.database, loaded, parent, position, codec=partial(self._codec, parent))
        return TokenByToken(self.database, loaded, start)

    def beam_tree(
        self,
        sample: SampleRecord | int,
        *,
        model: str | Model | None = None,
        facet: FacetRecord | str | None = None,
        prefill: str | None = None,
        title: str = "",
    ) -> BeamTree:
        """The sample's tree under a model: the one that was grown before, or a new one."""
        loaded = self._local(model, facet, "a beam tree")
        return BeamTree.start(self.database, loaded, sample, prefill=prefill, title=title)

    def blocks(
        self, sample: SampleRecord | int, *, model: str | Model | None = None, facet: FacetRecord | str | None = None
    ) -> Blocks:
        """A completion to write paragraph by paragraph."""
        return Blocks(self.database, self._local(model, facet, "block by block"), self._sample(sample))

    def score(self, completion: CompletionRecord | int, *, model: str | AnyModel | None = None, top: int = 5) -> LogprobsRecord:
        """Measure a completion under any model and keep the measures."""
        record = self._completion(completion)
        return scoring.score(self.database, self.model(model), record, top=top)

    # Many at once.

    def generate_all(
        self,
        samples: Chosen = None,
        *,
        progress: Callable[[BulkStep], object] | None = None,
        **options: Any,
    ) -> BulkReport:
        """`generate_each` to its end: progress is told each step. An interrupt keeps what is done, and the same call goes on."""
        return finish(self.generate_each(samples, **options), progress)

    def generate_each(
        self,
        samples: Chosen = None,
        *,
        model: str | AnyModel | Sequence[str | AnyModel] | None = None,
        facet: FacetRecord | str | None = None,
        config: GenerationConfig | None = None,
        prefill: str | None = None,
        n: int | None = None,
        run: str = "",
        **fields: Any,
    ) -> Bulk:
        """Complete many samples with one or several models, many in flight together: iterate over its steps to drive it.

        samples: a filter or a saved one's name, ids, records; None: all but the archived and hidden. Asking the same again
        (models, settings, prefill, `run`) goes on where it was cut off, and does nothing where it ended; what was deleted since
        stays deleted. Another `run` makes more.
        """
        settings = _config(config, fields, n)
        loaded = [self.model(each, facet=facet) for each in _several(model)]
        return bulk_generate(self.database, loaded, samples, settings, prefill=prefill, name=run)

    def score_all(
        self, completions: Chosen = None, *, progress: Callable[[BulkStep], object] | None = None, **options: Any
    ) -> BulkReport:
        """`score_each` to its end, as `generate_all`."""
        return finish(self.score_each(completions, **options), progress)

    def score_each(
        self,
        completions: Chosen = None,
        *,
        model: str | AnyModel | Sequence[str | AnyModel] | None = None,
        facet: FacetRecord | str | None = None,
        top: int = ALTERNATIVES,
    ) -> Bulk:
        """Measure many completions under one or several models: those that a model has not measured whole."""
        loaded = [self.model(each, facet=facet) for each in _several(model)]
        return bulk_score(self.database, loaded, completions, top=top)

    # Judging.

    def rate(self, completion: CompletionRecord | int, facet: FacetRecord | str, rating: int | None) -> None:
        """0 to 10 under a facet; None takes it back."""
        self.judgements.rate(completion, facet, rating)

    def prefer(
        self, better: CompletionRecord | int, worse: CompletionRecord | int, facet: FacetRecord | str, *, tie: bool = False
    ) -> PreferenceRecord:
        """One completion is better than another of the same sample under a facet; with `tie` neither is."""
        return self.judgements.prefer(better, worse, facet, tie=tie)

    def approve(self, completion: CompletionRecord | int, facet: FacetRecord | str) -> None:
        """Make it the answer to its sample under a facet, in place of an earlier one."""
        self.judgements.approve(completion, facet)

    def label(self, *completions: CompletionRecord | int, **labels: str | None) -> int:
        """Put style, length, reasoning, refusal or formatting labels on; None takes one off. Returns how many changed."""
        return self.completions.label(completions, **labels)

    def tag(self, *which: SampleRecord | CompletionRecord, add: Sequence[str] = (), remove: Sequence[str] = ()) -> None:
        """Put tags on samples and completions and take others off, as one step of the history; new tags are made."""
        samples = [each for each in which if isinstance(each, SampleRecord)]
        completions = [each for each in which if not isinstance(each, SampleRecord)]
        if any(not isinstance(each, CompletionRecord) for each in completions):
            raise InputError("tag takes samples and completions, not ids, which do not say of what; `tags.put` takes ids")
        with self.database.action("tag", ", ".join([*add, *(f"not {name}" for name in remove)])):
            self.tags.take(remove, samples=samples, completions=completions)
            self.tags.put(add, samples=samples, completions=completions)

    def archive(self, *which: SampleRecord | CompletionRecord, archived: bool = True) -> int:
        """Put samples and completions away, or back: kept, but out of lists, rankings and exports. Returns how many changed."""
        samples = [each for each in which if isinstance(each, SampleRecord)]
        completions = [each for each in which if not isinstance(each, SampleRecord)]
        with self.database.action("archive" if archived else "unarchive", f"{len(which)}"):
            return self.samples.archive(samples, archived) + self.completions.archive(completions, archived)

    def undo(self) -> ActionRecord | None:
        return self.history.undo()

    def redo(self) -> ActionRecord | None:
        return self.history.redo()

    # Files.

    def import_files(self, *paths: str | Path, **options: Any) -> ImportReport:
        """Bring data sets, benchmarks or another workspace in; the options are those of `ImportOptions`, and `told`."""
        told = options.pop("told", None)
        known = [each.name for each in fields(ImportOptions)]
        if unknown := [name for name in options if name not in known]:
            raise InputError(f"{unknown[0]}={options[unknown[0]]!r} is no option of an import; they are {', '.join(known)}")
        return import_files(self.database, [str(path) for path in paths], ImportOptions(**options), told=told)

    def export(self, kind: str | ExportTemplate, out: str | Path, *, facets: Sequence[str] = (), **options: Any) -> ExportReport:
        """Write a training set: by a kind ("sft", "dpo", …) with settings of `ExportTemplate`, by a saved template's name, or by
        a template. overwrite, password, dry_run and told are those of `exporting.export`.
        """
        if isinstance(facets, str):  # It would be taken for a list of its letters.
            raise InputError(f"facets is {facets!r}, a text; give a list of names, such as [{facets!r}]")
        how = {name: options.pop(name) for name in ("overwrite", "password", "dry_run", "told") if name in options}
        if isinstance(kind, str):
            template = named_template(self.database, kind, {**options, **({"facets": list(facets)} if facets else {})})
        elif options or facets:
            raise InputError("a template says everything itself; change it with dataclasses.replace")
        else:
            template = kind
        return export(self.database, template, out, count_tokens=self._count_tokens, **how)

    def readiness(self, facet: str, **options: Any) -> Readiness:
        """What could go out under a facet, and what could not and why: template, target_model, told. `readiness_page` makes a
        page of it."""
        return readiness(self.database, facet, count_tokens=self._count_tokens, **options)

    def duplicates(self, **options: Any) -> DuplicateReport:
        """Samples or completions that are like each other: measure, near, of."""
        return find_duplicates(self.database, **options)

    @property
    def _count_tokens(self) -> CountTokens:
        return token_counter(lambda name: self._local(name, None, "counting tokens"))

    # What was meant.

    def _sample(self, sample: SampleRecord | int) -> SampleRecord:
        return sample if isinstance(sample, SampleRecord) else self.samples.get(sample)

    def _completion(self, completion: CompletionRecord | int) -> CompletionRecord:
        return completion if isinstance(completion, CompletionRecord) else self.completions.get(completion)

    def _maker(self, completion: CompletionRecord) -> str | None:
        """The model that made it, where it is one that can be loaded; otherwise the workspace's."""
        return completion.model if completion.fingerprint else None

    def _codec(self, completion: CompletionRecord) -> TextCodec:
        """That of the model whose ids a completion has."""
        return self._local(self._maker(completion), None, "spelling its ids").codec


def _several(model: str | AnyModel | Sequence[str | AnyModel] | None) -> list[str | AnyModel | None]:
    if model is None or isinstance(model, str | AnyModel):
        return [model]
    if not model:
        raise InputError("model is an empty list; name at least one, or leave it out for the target model")
    return list(model)


def _config(config: GenerationConfig | None, fields: dict[str, Any], n: int | None = None) -> GenerationConfig:
    """n: how many completions, where it is said."""
    fields = fields if n is None else {**fields, "num_return_sequences": n}
    config = GenerationConfig() if config is None else config
    if not isinstance(config, GenerationConfig):
        raise InputError(f"config is a {type(config).__name__}; give a GenerationConfig, or its settings as keywords")
    return config.replace(**fields) if fields else config
