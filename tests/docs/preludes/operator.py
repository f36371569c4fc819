"""An engine that pushes three batches of the partition p0, and takes a checkpoint after the second."""

from collections.abc import Iterator

import pyarrow as pa

from penrose_host.datasources.clickstream.source import ClickstreamSource


class Engine:
    def __init__(self) -> None:
        self.source = ClickstreamSource(ClickstreamSource.Options(partitions=1, rows=150))
        self.source.open({"0": None})
        self.pushed = 0

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        for _ in range(3):
            batch = self.source.read(50, 0.0).batch
            self.pushed += batch.num_rows
            name = pa.array(["p0"] * batch.num_rows)
            yield batch.set_column(batch.schema.get_field_index("_partition"), "_partition", name)

    def checkpoint_due(self) -> bool:
        return self.pushed == 100

    def offsets(self) -> dict[str, int]:
        return {"p0": self.pushed}


engine = Engine()
