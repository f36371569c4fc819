"""The contracts between the host and its plugins. A plugin imports these from `penrose_host`.

Everything a plugin gets from the outside is an argument of its methods; nothing is global. It is one long page on
purpose: the contracts name each other, and whoever writes a plugin reads them together.
The contract classes of `penrose_host.testing` check each promise written here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from penrose_host.errors import SourceError

if TYPE_CHECKING:
    import pyarrow as pa
    from pydantic import BaseModel

    from penrose_host.batch import Chunk, EncodedBatch, Float32, Int64, Position, Reject, StepInfo, StepResult
    from penrose_host.cluster import ClusterSpec, Role
    from penrose_host.config.job import Job
    from penrose_host.operator import Operator
    from penrose_host.snapshots import CheckpointReader, Snapshot, SnapshotRef

__all__ = [
    "API_VERSION",
    "Capability",
    "DataSource",
    "DenseParameters",
    "EmbeddingBackend",
    "EmbeddingTable",
    "EndOfStream",
    "Environment",
    "Executor",
    "ExecutorContext",
    "FeatureSpec",
    "Lag",
    "ListFeature",
    "Plugin",
    "RunResult",
    "Runtime",
    "Sink",
    "TableFactory",
    "TableSpec",
    "TableStats",
]

#: The plugin API this host speaks. It also accepts plugins written for the one before.
API_VERSION = 1


class Capability(Enum):
    """What a plugin can do, or cannot promise; shown by `penrose plugins show`."""

    SEEK = "seek"  # a datasource that can be opened at any position it ever gave
    UNBOUNDED = "unbounded"  # a datasource that never ends by itself
    COMMIT = "commit"  # a datasource that wants to be told which position is durable
    SINGLE_WORKER = "single-worker"  # an executor whose state cannot be shared by several workers
    AT_LEAST_ONCE = "at-least-once"  # an executor that cannot say which batches have counted


class Plugin:
    """What all plugins share: an API version, options, capabilities."""

    #: The plugin API this class was written for.
    api_version: ClassVar[int]
    #: A pydantic model with `extra="forbid"`: its fields, defaults and descriptions are the plugin's options.
    Options: ClassVar[type[BaseModel]]
    #: Of the class; an instance whose options say otherwise (a stream with an end) may set its own.
    capabilities: frozenset[Capability] = frozenset()
    #: Plugins of the same kind, by name, whose options mean the same here: where a flag puts this one in the place of
    #: one of them, the options in the job stay.
    options_of: ClassVar[tuple[str, ...]] = ()

    def __init__(self, options: BaseModel) -> None:
        """Keep the options. Opening files, sockets or frameworks waits for `open`, `setup` or `run`."""
        self.options: Any = options


# -- datasources ---------------------------------------------------------------------------------


class EndOfStream(Exception):
    """Raised by `DataSource.read` when no assigned partition will ever give another row."""


@dataclass(frozen=True, slots=True)
class Lag:
    """How far reading is behind: rows and seconds not yet read, in all and by partition; None where unknown."""

    rows: int | None = None
    seconds: float | None = None
    partitions: Mapping[str, int] = field(default_factory=dict)


class DataSource(Plugin, ABC):
    """Hands over chunks. The host makes one instance a worker and calls it from one thread at a time.

    `source_id`, `partitions`, `expect` and a last `close` come from another thread than the calls from `open` on.
    """

    @property
    @abstractmethod
    def source_id(self) -> str:
        """Names the stream: a position with another `source_id` is refused. Known before `open`.

        Equal streams have equal ids, whatever options only say *how* to read (batch sizes, prefetch).
        """

    @abstractmethod
    def partitions(self) -> Sequence[str]:
        """All partitions of the stream now; may grow while running. Names do not depend on workers."""

    def expect(self, stamps: Mapping[str, str]) -> None:
        """What `stamps` gave when the checkpoint was taken; called before the first `open` of a resumed run.

        Raises `SourceError`, naming the partition, where what was read then is not there any more as it was.
        """

    def stamps(self) -> Mapping[str, str]:
        """Partition → stamp of its content as far as this run has touched it: short opaque text, kept in checkpoints.

        A source whose data could change under a position (files) gives one; the host compares nothing itself.
        """
        return {}

    def bound(self, until: str | Mapping[str, int]) -> None:
        """In this run, read no further than there; called before the first `open`, where the job has `until.stream`.

        `now`: what is there as the run starts; an ISO 8601 time of the stream's own clock; or partition → the offset
        to stop before. A partition that is read that far counts as `ended`, and once all are, `read` raises
        `EndOfStream`. Raises `SourceError` for a bound that the source cannot keep; here, for any.
        """
        raise SourceError(
            f"{type(self).__name__} cannot say where its stream is at `until.stream` ({until!r})",
            hint="bound the run with --until rows=N or --until event_time=T",
        )

    @abstractmethod
    def open(self, assignment: Mapping[str, int | None]) -> None:
        """Read these partitions, each from its first offset (None: where the options say a new run starts).

        May be called again while open with a larger assignment: added partitions start where it says,
        the others go on. Raises `WrongStream` for an unknown partition or an offset that cannot be one,
        `SourceError` where the data has changed or is no longer there.
        """

    @abstractmethod
    def read(self, max_rows: int, timeout: float) -> Chunk | None:
        """The next rows, at most `max_rows`, in order within each partition.

        None: nothing came within `timeout` seconds. Raises `EndOfStream` at the end, `SourceError` on failure.
        Which partitions stand together in a chunk, and how long a chunk is, may vary from run to run;
        the rows of a partition and their order may not.
        """

    def pause(self, partitions: Collection[str]) -> None:
        """From now on `read` gives no rows of these partitions, until the next call (an empty one resumes all).

        An event-time merge holds back the partitions that ran ahead, so that its memory stays bounded.
        Sources with a single partition need not implement it.
        """

    def ended(self) -> Collection[str]:
        """Assigned partitions that will never give another row; an event-time merge waits no longer for them."""
        return ()

    def commit(self, position: Position) -> None:
        """The checkpoint with this position is durable. Called after that, never before."""

    def dead_letters(self, letters: Sequence[Reject]) -> None:
        """Bad rows that the run has come to, under `bad_rows: dead-letter`; they are in its `dead-letter.jsonl`.

        For sources that have a place of their own for them. Called behind the checkpoint that covers them, in order
        within each partition; on return they are durable there. After a crash some come again: at least once.
        """

    def compact(self, position: Position) -> Position:
        """The same position without partitions that can never be read again (an endless file stream).

        An endless source is asked whenever a checkpoint is taken; what it leaves out it does not name again, neither
        in `partitions`, `ended` nor `stamps`.
        """
        return position

    def lag(self) -> Lag | None:
        """How far reading is behind; None where the source cannot know."""
        return None

    @abstractmethod
    def close(self) -> None:
        """Let go of everything. May be called twice, and without `open`."""


# -- sinks ---------------------------------------------------------------------------------------


class Sink(Plugin, ABC):
    """Takes the rows of a stream: what `penrose replay` publishes goes through one. Called from one thread."""

    @abstractmethod
    def open(self) -> None:
        """Get ready to write. Raises `SinkError` where that cannot be."""

    @abstractmethod
    def write(self, rows: pa.RecordBatch) -> None:
        """Take these rows, after all that came before: every column of the source, `_partition` and `_offset` too.

        Blocks while the sink is full. Batches may differ in their columns, as those of a source may, and may be empty.
        Raises `SinkError` where rows cannot be written, also rows of an earlier call.
        """

    @abstractmethod
    def flush(self) -> None:
        """Return once all rows that were taken are durable there. Raises `SinkError` where they cannot be."""

    @abstractmethod
    def close(self) -> None:
        """Let go of everything; what was not flushed may be lost. May be called twice, and without `open`."""


# -- features, as executors see them -------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ListFeature:
    """A feature with any number of ids a row; `ordered` says that their order means something."""

    name: str
    combiner: str = "mean"  # sum | mean
    ordered: bool = False


@dataclass(frozen=True, slots=True)
class FeatureSpec:
    """What the columns of an `EncodedBatch` are; JSON-serialisable, part of every export.

    `categorical` names the columns of `EncodedBatch.ids` in order; `labels` are the heads.
    `recipe` says how raw columns become these: the job's `features` section with every default spelt out, which
    `FeaturesConfig.model_validate` reads back. A model does not depend on it; whoever serves one does.
    """

    categorical: tuple[str, ...] = ()
    lists: tuple[ListFeature, ...] = ()
    numeric: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    recipe: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)


# -- embedding tables ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TableSpec:
    """One embedding table: what an executor asks of an `EmbeddingBackend`.

    `optimizer` is (name, parameters): sgd, adagrad, rowwise_adagrad, adam, ftrl, … ; `initializer` likewise:
    zeros, constant, uniform, normal. A row's first value depends on (`seed`, key) only.
    `admission` and `eviction` are None or (policy, parameters), for backends that know them.
    """

    name: str
    width: int
    optimizer: tuple[str, Mapping[str, float]] = ("sgd", {"learning_rate": 0.01})
    initializer: tuple[str, Mapping[str, float]] = ("zeros", {})
    seed: int = 0
    admission: tuple[str, Mapping[str, float]] | None = None
    eviction: tuple[str, Mapping[str, float]] | None = None


@dataclass(frozen=True, slots=True)
class TableStats:
    """Rows in use, bytes resident (weights, slots, metadata), and counters since the start."""

    rows: int
    bytes: int
    counters: Mapping[str, int] = field(default_factory=dict)


class EmbeddingTable(ABC):
    """int64 key → float32 row, with its optimizer's slots. Any int64 is a legal key."""

    spec: TableSpec
    #: None: `key` of `export_rows` is the key itself. Otherwise the number of rows that keys are hashed into,
    #: and `key` there is `penrose_host.embeddings.mixing.buckets(key, hash_rows)`: what a servable artifact repeats.
    #: A `key` that is not exported has the first value that `penrose_host.embeddings.initializers` gives for it.
    hash_rows: int | None = None
    #: Whether a key without a row reads its first value when it is only looked at; otherwise zeros.
    first_values: bool = True

    @abstractmethod
    def lookup(self, keys: Int64, *, train: bool) -> Float32:
        """Rows of `keys`: int64 [n] → a new float32 [n, width]. With `train`, unseen keys may become rows.

        Without it nothing changes, and a key without a row reads what training would find: the first value of its
        row, in `hashing` (where all rows exist from the start) as in dynamic tables; with `admission` zeros, which it
        reads, and does not train, until it is admitted.
        """

    @abstractmethod
    def apply(self, keys: Int64, gradients: Float32, step: StepInfo) -> None:
        """One optimizer step: gradients float32 [n, width] for keys int64 [n]; repeated keys are summed first.

        Raises `TrainingError` for shapes that do not fit; the table is then unchanged.
        """

    @abstractmethod
    def snapshot(self, since: SnapshotRef | None) -> Snapshot:
        """This instant's content, copied or frozen. `since`: the last committed snapshot of this table,
        whose files a delta may `reuse`. At most one snapshot is neither committed nor aborted at a time."""

    def committed(self, ref: SnapshotRef) -> None:  # noqa: B027 - optional
        """The last snapshot is durable, as `ref`: marks of what changed before it may be cleared."""

    def aborted(self) -> None:  # noqa: B027 - optional
        """The last snapshot will never be durable: what it covered still counts as changed."""

    @abstractmethod
    def restore(self, reader: CheckpointReader) -> None:
        """Become what the snapshot held. Raises `CheckpointDamaged` where it does not fit the spec."""

    @abstractmethod
    def export_rows(self) -> Iterator[pa.RecordBatch]:
        """All rows for inference, in ascending order of `key`: columns `key` (int64) and
        `row` (fixed-size list of float32)."""

    @abstractmethod
    def stats(self) -> TableStats:
        """Size and counters, cheap enough for every report."""


class EmbeddingBackend(Plugin, ABC):
    """Makes tables. A backend is selected once a job; every executor can use every backend."""

    @abstractmethod
    def table(self, spec: TableSpec) -> EmbeddingTable:
        """A new, empty table. Raises `ConfigError` for what this backend does not know."""


class DenseParameters(ABC):
    """The dense parameters of a job with parameter servers; an executor without one keeps its own."""

    @abstractmethod
    def pull(self) -> Mapping[str, Float32]:
        """The current values by name."""

    @abstractmethod
    def push(self, gradients: Mapping[str, Float32], step: StepInfo) -> None:
        """One update; the servers recognise a step that was sent twice."""


# -- executors -----------------------------------------------------------------------------------


class TableFactory(ABC):
    """Gives an executor its tables; the host snapshots, restores and exports them."""

    @abstractmethod
    def __call__(self, spec: TableSpec) -> EmbeddingTable:
        """The table of this spec, made by the job's backend. The same name twice gives the same table."""


@dataclass(frozen=True, slots=True)
class ExecutorContext:
    """What an executor gets at `setup`.

    `tables` is None with `embedding: none` (the framework's own layers hold the embeddings);
    `parameters` is None without parameter servers. `seed` is the job's.
    """

    features: FeatureSpec
    role: Role
    index: int
    cluster: ClusterSpec
    seed: int = 0
    tables: TableFactory | None = None
    parameters: DenseParameters | None = None


class Executor(Plugin, ABC):
    """Scores and trains. The host calls it from one thread; it never sees the source, clocks or files."""

    #: Embedding backends that it prefers to holding embeddings itself, the best first: where a job names none, the
    #: first that is installed is used.
    embeddings: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def setup(self, context: ExecutorContext) -> None:
        """Import the framework and build the model. Called once, before everything else."""

    @abstractmethod
    def predict(self, batch: EncodedBatch) -> Mapping[str, Float32]:
        """head → probabilities, float32 [rows]; changes nothing. Also for 0 rows."""

    @abstractmethod
    def train(self, batch: EncodedBatch, step: StepInfo) -> StepResult:
        """One optimizer step. Applies nothing and says so where a loss or a gradient is not finite."""

    @abstractmethod
    def snapshot(self) -> Snapshot:
        """Dense state of this instant (parameters, optimizer, counters, random generators), copied."""

    @abstractmethod
    def restore(self, reader: CheckpointReader) -> None:
        """Become what the snapshot held: the next step gives the same bytes as it would have then."""

    @abstractmethod
    def export(self, directory: Path) -> None:
        """Write a servable artifact into this empty folder."""

    @abstractmethod
    def close(self) -> None:
        """Let go of everything. May be called twice, and without `setup`."""


# -- environments --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a run ended: `reason` is end-of-stream, until, signal or failed.

    `metrics` is the last line of `metrics.jsonl`; `checkpoint` the id of the last durable checkpoint.
    """

    reason: str
    rows: int
    trained_rows: int
    position: Position
    checkpoint: str | None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    run_dir: Path | None = None


class Runtime(ABC):
    """All that an environment needs of the host: which roles there are, and how to be one of them."""

    @abstractmethod
    def roles(self) -> Mapping[Role, int]:
        """How many processes of each role the job asks for."""

    @abstractmethod
    def run_role(self, role: Role, index: int, cluster: ClusterSpec) -> RunResult:
        """Be this role until the job ends; blocks. Raises what ended it otherwise."""

    @abstractmethod
    def operator(
        self, *, source_id: str, partitions: Collection[str] = (), resume_from: str | None = None
    ) -> AbstractContextManager[Operator]:
        """The push driver, for engines that own the loop; used as `with runtime.operator(…) as operator`.

        `source_id` names the engine's stream, `partitions` those an event-time merge waits for, `resume_from`
        the engine's id of its last committed checkpoint (None: start anew).
        """


class Environment(Plugin, ABC):
    """Decides where the roles of a job run."""

    @abstractmethod
    def run(self, job: Job, runtime: Runtime) -> RunResult:
        """Run the job to its end and return the chief's result."""
