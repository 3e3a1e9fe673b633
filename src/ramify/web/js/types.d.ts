/** The shapes of docs/api.md, as far as the studio reads them. */

export type Message = { role: string; content: string };
export type Prompt = string | Message[];
export type Config = Record<string, any>;
export type Span = [start: number, end: number, origin: string];

export type Sample = {
  id: number; version: string; title: string; group: string; notes: string; prompt: Prompt; prompt_id: number; revision: number;
  tags: string[]; images: { path: string; media_type: string; sha256: string }[]; archived: boolean; hidden: boolean;
  created_at: string; changed_at: string;
};
export type SampleRow = {
  id: number; title: string; group: string; preview: string; messages: boolean; tags: string[]; completions: number; drafts: number;
  truncated: number; approved: string[]; archived: boolean; hidden: boolean; created_at: string;
};
export type Scored = {
  model: string; fingerprint: string; start: number; count: number; sum_logprob: number; mean_logprob: number | null;
  min_logprob: number | null; p10_logprob: number | null; p50_logprob: number | null; mean_entropy: number | null;
};
export type Completion = {
  id: number; version: string; sample_id: number; prompt_id: number; model: string; fingerprint: string; text: string;
  generated_start: number; token_count: number | null; spans: Span[]; config: Config; processors: string[]; seed: number | null;
  finish_reason: string | null; stop_string: string | null; beam_score: number | null; truncated: boolean; archived: boolean;
  hidden: boolean; draft: boolean; running: boolean; parent_id: number | null; branch_position: number | null;
  mean_logprob: number | null; min_logprob: number | null; labels: Record<string, string>; tags: string[]; details: Record<string, any>;
  created_at: string; ratings: Record<string, number>; approved: string[]; scored: Scored[];
};
export type Processed = {
  logprob: (number | null)[]; alternative_offsets: number[]; alternative_ids: number[]; alternative_logprobs: (number | null)[];
};
export type Tokens = {
  completion_id: number; model: string; fingerprint: string; start: number; total: number; ids: number[]; text: string[];
  logprob: (number | null)[] | null; rank: (number | null)[] | null; entropy: (number | null)[] | null;
  alternative_offsets: number[] | null; alternative_ids: number[]; alternative_logprobs: number[]; processed: Processed | null;
  vocabulary: Record<string, string>; special: number[]; eos: number[];
};
export type Candidates = {
  position: number; ids: number[]; text: string[]; logprob: number[]; probability: number[]; rank: number[]; ends: boolean[];
  node: (number | null)[] | null; processed_logprob: (number | null)[] | null; others: number; entropy: number | null;
};
export type Facet = {
  id: number; version: string; name: string; description: string; parent: string | null; good_rating: number | null;
  bad_rating: number | null; min_logprob: number | null; mean_logprob: number | null; target_model: string | null; created_at: string;
  effective: {
    good_rating: number; bad_rating: number; min_logprob: number | null; mean_logprob: number | null; target_model: string;
    chain: string[]; sources: Record<string, string>;
  };
};
export type Model = {
  name: string; kind: "local" | "remote"; note: string; loaded: boolean; context_window: number | null; fingerprint: string | null;
  can: Record<"generate" | "prefill" | "logprobs" | "score" | "tokens" | "beams" | "blocks", true | string>;
  card?: { probed_at: string; server: string | null; findings: { name: string; verdict: string; because: string }[] } | null;
};
export type Session = {
  key: string; sample_id: number; model: string; parent_id: number | null; length: number; text: string; tokens: Tokens;
  origins: Span[]; ended: boolean; finished: boolean; candidates: Candidates | null;
};
export type Tree = {
  id: number; sample_id: number; prompt_id: number; model: string; fingerprint: string; title: string; prefill: string; root: number;
  nodes: number; created_at: string;
};
export type Nodes = {
  id: number[]; parent: (number | null)[]; token: number[]; depth: number[]; logprob: (number | null)[]; entropy: (number | null)[];
  rank: (number | null)[]; sum_logprob: (number | null)[]; min_logprob: (number | null)[]; origin: string[]; ended: boolean[];
  flags: number[]; dead: Record<string, string>; completion: Record<string, number>; vocabulary: Record<string, string>; next: any;
};
export type Outcome = {
  start: number; seed: number; decided: boolean;
  results: { node: number | null; text: string; score: number; finish_reason: string }[];
  verdicts: { node: number[]; state: string[]; step: (number | null)[]; score: (number | null)[]; processor: (string | null)[]; reason: string[] };
  unknown: number; asked: number; ends: number[]; added: Nodes;
};
export type Preference = {
  id: number; facet: string; sample_id: number; better_id: number; worse_id: number; tie: boolean; origin: string; created_at: string;
};
export type RankingItem = {
  completion_id: number; strength: number; error: number; comparisons: number; rating: number | null; rating_from: string | null; place: number;
};
export type Action = { id: number; name: string; detail: string; author: string; state: "done" | "undone" | "abandoned"; created_at: string };
export type Blocks = {
  key: string; sample_id: number; model: string; text: string; blocks: { text: string; origin: string }[];
  proposed: { text: string; tokens: number; ends: boolean }[]; ended: boolean; version: number | string;
};
export type FilterField = {
  field: string; of: string; ops: string[]; kind: string; needs_facet: boolean; may_name_model: boolean; values: string[] | null;
};

export type LabPrompt = { title: string; prompt: Prompt; json_schema?: any };
export type LabExperiment = { title: string; settings: Config; repeats?: number; prompts?: string[] };
export type LabPlan = { name: string; max_new_tokens: number; seed: number; prompts: LabPrompt[]; experiments: LabExperiment[] };
export type LabForm = {
  name: string; models: string[]; prompts: LabPrompt[]; chosen: string[]; own: { title: string; settings: Config; repeats: number }[];
  samples: number; max_new_tokens: number; seed: number;
};
export type LabRun = {
  id: number; name: string; models: string[]; state: "running" | "completed" | "cancelled" | "failed"; problem: string | null;
  asked: number; done: number; created_at: string; ended_at: string | null;
};
export type LabRow = {
  experiment: string; runs: number; averages: Record<string, [number, number, number]>; json_valid: number | null;
  schema_valid: number | null; seconds: number;
};
export type LabText = {
  place: number; number: number; title: string; experiment: string; repeat: number; config: Config; strategy: string; sampled: boolean;
  seed: number | null; finish_reason: string; beam_score: number | null; json_valid: boolean | null; schema_valid: boolean | null;
  schema_error: string | null; shared: number; metrics: Record<string, any>; text: string; ids: number[]; completion_id: number | null;
};
export type LabGroup = {
  place: number; model: string; title: string; prompt: string; facts: { name: string; text: string }[]; refused: string | null;
  left_out: { name: string; text: string }[]; checks: { title: string; holds: boolean | null; detail: string }[]; judged_as_json: boolean;
  rows: LabRow[]; texts: LabText[];
};
export type LabReport = { run: LabRun; plan: LabPlan; note: string; groups: LabGroup[] };
export type LabTokens = {
  ids: number[]; text: string[]; special: number[]; probability: number[]; rank: number[]; entropy: number[]; kept: Record<string, number[]>;
  alternatives: [number, number, string | null, number][][]; vocabulary: Record<string, string>;
};
export type LabPair = {
  title: string; prompt: string; left: { place: number; number: number; text: string }; right: { place: number; number: number; text: string };
  votes: number;
};
export type Interval = { mean: number; low: number; high: number; count: number };
export type LabContestant = {
  experiment: string; model: string; config: Config; samples: number; quality: Interval; diversity: Interval | null; won: Interval | null;
};
export type LabComparison = { title: string; votes: number; contestants: LabContestant[]; report: string };
export type Task = {
  key: string; kind: "import" | "export" | "readiness" | "duplicates" | "training-check" | "training-report"; title: string; state: "running" | "done" | "failed" | "cancelled";
  doing: string; done: number; total: number | null; error: { message: string; code: string | null } | null;
  started_at: string; ended_at: string | null;
};
export type Upload = { key: string; files: { name: string; size_bytes: number }[] };
export type Problem = { file: string; line: number | null; reason: string };
export type LookedAnswer = { text: string; model: string | null; good: boolean | null; rating: number | null; truncated: boolean };
export type Look = {
  files: { file: string; format: string }[]; why: string | null; columns: string[];
  rows: { file: string; line: number; cells: Record<string, string> }[]; suggested: Record<string, string>;
  entries: { file: string; line: number; prompt: string; turns: number; title: string; answers: LookedAnswer[]; better: [number, number][] }[];
  problems: Problem[];
};
export type ImportReport = Record<string, any> & {
  files: { file: string; format: string }[]; records: number; bad_records: number; remarks: string[]; compared: string[]; duplicates_left_out: number;
};
export type Import = Task & { dry_run: boolean; upload: string | null; problem: Problem | null; report: ImportReport | null };
export type Reason = { reason: string; count: number; samples: number[] };
export type FacetReport = { facet: string; target_model: string; samples: number; available: number; taken: number; rows: number; reasons: Reason[] };
export type Export = Task & {
  dry_run: boolean; files: { number: number; name: string; size_bytes: number }[];
  report: null | {
    kind: string; form: string; file_type: string; rows: number; files: { file: string; rows: number; size_bytes: number; sha256: string }[];
    facets: FacetReport[]; left_out: Reason[]; examples: { sample: number; facet: string; row: Record<string, any> }[];
  };
};
export type Distribution = { count: number; least: number; median: number; mean: number; most: number; edges: number[]; counts: number[] };
export type ReadyKind = {
  kind: string; samples: number; rows: number; good: number; bad: number; tokens: number; loss: number | null; measured: number; reasons: Reason[];
};
export type ReadinessTask = Task & {
  report: null | {
    facet: string; target_model: string; samples: number; completions: number; rated: number; preferences: number; approved: number; scored: number;
    truncated: number; thresholds: { good_rating: number; bad_rating: number; min_logprob: number | null; mean_logprob: number | null };
    kinds: ReadyKind[]; tokens: Distribution | null; ratings: Distribution | null; mean_logprobs: Distribution | null; min_logprobs: Distribution | null;
  };
};
export type Quality = {
  model: string; fingerprint: string; metrics: Record<string, number | null>; filtered: null | { text: string; passed: boolean; reasons: string[]; checked: Record<string, string> };
};
export type QualityFacts = { metrics: { name: string; meaning: string; range: string; better: string; source: string }[]; checks: { name: string; meaning: string }[] };
export type TrainingMethod = { name: "sft" | "dpo" | "kto"; learns: string; train: Record<string, any>; muon: Record<string, any>; lora_learning_rate: number; preference: string[] };
export type TrainingForm = Record<string, any> & {
  method: "sft" | "dpo" | "kto"; name: string; model: string; facets: { name: string; amount: string }[]; adapter: boolean; rank: string; merge: boolean; keep: boolean;
  validation: string; overlong: string; unusable: string; truncated: boolean; archived: boolean; retokenize: boolean; prefill: boolean; turns: "last" | "all";
  packing: boolean; optimizer: "" | "muon"; schedule: string; loss: string; filter: any; keep_model: string;
};
export type TrainingLine = {
  step: number; seconds: number; held_out: boolean; loss: number | null; accuracy: number | null; margin: number | null; tokens_per_s: number | null; lr: number | null;
};
export type TrainingHead = {
  key: string; method: string; model: string | null; facets: string[]; state: "running" | "completed" | "cancelled" | "failed" | "killed"; doing: string;
  problem: string | null; step: number; steps: number | null; loss: number | null; validation: number | null; tokens_per_s: number | null; seconds: number;
  left_s: number | null; started_at: string; ended_at: string | null; can_go_on: boolean; has_report: boolean;
};
export type TrainingRun = TrainingHead & { plan: Record<string, any>; log: TrainingLine[] };
export type TrainingCheck = Task & {
  report: null | {
    model: string; window: number; rows: number; validation_rows: number; tokens: number; learned: number; longest: number; without_eos: number;
    problems: Record<string, number>; stayed: Record<string, number>; bad: { number: number; name: string; problems: string[] }[]; bad_rows: number; passes: boolean;
    refusal: string | null; chosen: string[]; steps: number | null; settings: Record<string, any>;
  };
};
export type TrainingRow = {
  number: number; name: string; validation: boolean; label: boolean | null; prompt_tokens: number; tokens: number; learned: number; problems: string[];
  sides: { token_ids: number[]; learned: boolean[]; texts: string[]; eos: boolean; eos_id: number | null }[]; sample: number | null; completions: number[];
};
export type BeforeAfter = {
  base: string; tuned: string; method: string; losses: { part: string; rows: number; tokens: number; before: number; after: number }[];
  pairs: { part: string; rows: number; accuracy_before: number; accuracy_after: number; margin_before: number; margin_after: number }[];
  unrelated: { texts: number; tokens: number; before: number; after: number; worse: number; alarm: boolean; bound: number }; completions: number;
};
export type Change = {
  name: string; side: "chosen" | "rejected" | "good" | "bad"; validation: boolean; sample: number | null; completion: number | null; change: number;
  tokens: string[]; before: number[]; after: number[];
};
