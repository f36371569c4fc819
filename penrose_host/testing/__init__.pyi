from .datasources import DataSourceContract as DataSourceContract
from .environments import EnvironmentContract as EnvironmentContract
from .executors import ExecutorContract as ExecutorContract
from .hooks import HookContract as HookContract
from .memory import MemoryCheckpoints as MemoryCheckpoints
from .promises import BrokenPromise as BrokenPromise, promises_of as promises_of
from .sinks import SinkContract as SinkContract
from .tables import EmbeddingTableContract as EmbeddingTableContract
