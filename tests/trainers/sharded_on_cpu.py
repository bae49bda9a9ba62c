"""`trainers` with FSDP2 on CPU over gloo: accelerate itself shards on devices only. Started by torchrun in tests."""

from typing import Any

from accelerate import Accelerator, PartialState
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin

from trainers import training
from trainers.cli import main


class Sharding(Accelerator):  # type: ignore[misc]  # accelerate is untyped here
    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.state.fsdp_plugin = FullyShardedDataParallelPlugin(
            fsdp_version=2, auto_wrap_policy="transformer_based_wrap"
        )
        # A state takes over what the other has whenever it is made again.
        self.state.distributed_type = PartialState().distributed_type = DistributedType.FSDP


if __name__ == "__main__":
    training.Accelerator = Sharding  # type: ignore[misc]
    main()
