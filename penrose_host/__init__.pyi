from .config.job import Job as Job
from .config.layers import Flags as Flags
from .config.loading import load_job as load_job
from .config.resolve import Resolved as Resolved, load as load, resolve as resolve
from .contracts.batch import (
    OFFSET as OFFSET,
    PARTITION as PARTITION,
    Chunk as Chunk,
    EncodedBatch as EncodedBatch,
    Float32 as Float32,
    Int32 as Int32,
    Int64 as Int64,
    Position as Position,
    Ragged as Ragged,
    Reject as Reject,
    StepInfo as StepInfo,
    StepResult as StepResult,
)
from .contracts.cluster import ClusterSpec as ClusterSpec, Role as Role
from .contracts.datasource import DataSource as DataSource, EndOfStream as EndOfStream, Lag as Lag
from .contracts.embedding import (
    DenseParameters as DenseParameters,
    EmbeddingBackend as EmbeddingBackend,
    EmbeddingTable as EmbeddingTable,
    TableFactory as TableFactory,
    TableSpec as TableSpec,
    TableStats as TableStats,
)
from .contracts.environment import Environment as Environment, RunResult as RunResult, Runtime as Runtime
from .contracts.executor import (
    Executor as Executor,
    ExecutorContext as ExecutorContext,
    FeatureSpec as FeatureSpec,
    ListFeature as ListFeature,
)
from .contracts.hooks import Deny as Deny, HookPlugin as HookPlugin, hookimpl as hookimpl
from .contracts.operator import Operator as Operator
from .contracts.plugin import API_VERSION as API_VERSION, Capability as Capability, Plugin as Plugin
from .contracts.run_spec import PluginRef as PluginRef, RunSpec as RunSpec
from .contracts.sink import Sink as Sink
from .contracts.snapshots import (
    Buffer as Buffer,
    CheckpointReader as CheckpointReader,
    FileRef as FileRef,
    FilesSnapshot as FilesSnapshot,
    Snapshot as Snapshot,
    SnapshotRef as SnapshotRef,
    SnapshotWriter as SnapshotWriter,
)
from .datasources.partitioned import PartitionedSource as PartitionedSource
from .errors import (
    BadRow as BadRow,
    CheckpointDamaged as CheckpointDamaged,
    CheckpointError as CheckpointError,
    CheckpointNotFound as CheckpointNotFound,
    ConfigError as ConfigError,
    DataError as DataError,
    ExportDenied as ExportDenied,
    Fenced as Fenced,
    NonFiniteLoss as NonFiniteLoss,
    PenroseError as PenroseError,
    PluginBlocked as PluginBlocked,
    PluginBroken as PluginBroken,
    PluginConflict as PluginConflict,
    PluginError as PluginError,
    PluginIncompatible as PluginIncompatible,
    PluginNotFound as PluginNotFound,
    RunDirectoryError as RunDirectoryError,
    SinkError as SinkError,
    SourceError as SourceError,
    TrainingError as TrainingError,
    WrongStream as WrongStream,
)
from .monitoring.events import Event as Event, Events as Events, Listener as Listener
from .monitoring.terminal import Terminal as Terminal
from .plugins.selection import SelectionPolicy as SelectionPolicy
from .replays import load_plan as load_plan, replay as replay
from .training.export_command import ExportedFiles as ExportedFiles, export_checkpoint as export_checkpoint
from .training.runtime import HostRuntime as HostRuntime, run as run
from .training.scoring import score as score
from .training.signals import StopRequest as StopRequest
