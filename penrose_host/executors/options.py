"""The options that every executor with named models has, with the same meaning and the same defaults."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from penrose_host.executors.functions import is_place

__all__ = ["MODELS", "ModelOptions", "OptimizerOptions"]

#: The models that have a name; any other is `module:function`.
MODELS = ("logistic", "fm", "deepfm", "dcn")


class OptimizerOptions(BaseModel):
    """An optimizer: its name and, beside it, its parameters, such as `learning_rate`."""

    model_config = ConfigDict(extra="allow", strict=True)
    __pydantic_extra__: dict[str, float]

    name: str = Field(description="which optimizer; its parameters stand beside it")

    @property
    def parameters(self) -> dict[str, float]:
        return dict(self.__pydantic_extra__)


class ModelOptions(BaseModel):
    """The model and how it learns. An executor adds where and with what it runs."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    model: str = Field("logistic", description="logistic, fm, deepfm, dcn, or module:function of your own")
    model_options: dict[str, Any] = Field({}, description="keyword arguments for your own model's function")
    width: int = Field(8, ge=1, description="numbers in the embedding of an id (fm, deepfm: factors beside its weight)")
    hidden: list[int] = Field([64, 32], description="units of each hidden layer (deepfm, dcn)")
    cross_layers: int = Field(2, ge=0, description="cross layers (dcn)")
    bias: bool = Field(True, description="whether there is a bias (logistic, fm, deepfm)")
    init_scale: float = Field(0.01, ge=0, description="standard deviation of new embeddings (logistic: always 0)")
    optimizer: OptimizerOptions = Field(
        OptimizerOptions.model_validate({"name": "adagrad", "learning_rate": 0.1}),
        description="of the embeddings; the embedding backend says which there are (`none`: sgd, adagrad, adam)",
    )
    dense_optimizer: OptimizerOptions = Field(
        OptimizerOptions.model_validate({"name": "adam", "learning_rate": 0.001}),
        description="of all other parameters: sgd, adagrad, adam or adamw",
    )
    reduction: Literal["sum", "mean"] = Field(
        "sum", description="of the loss over the rows of a micro-batch; with a mean, tiny micro-batches learn slowly"
    )
    embedding_rows: int = Field(2**20, ge=1, le=2**31, description="rows of the embedding layer (`embedding: none`)")

    @field_validator("model")
    @classmethod
    def _known_model(cls, model: str) -> str:
        if model in MODELS or is_place(model):
            return model
        raise ValueError(f"{model!r} is neither one of {', '.join(MODELS)} nor module:function")

    @field_validator("hidden")
    @classmethod
    def _positive_units(cls, hidden: list[int]) -> list[int]:
        if any(units < 1 for units in hidden):
            raise ValueError(f"a layer needs at least 1 unit: {hidden}")
        return hidden
