"""The options of the executor, as a job gives them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

__all__ = ["MODELS", "OptimizerOptions", "RiverOptions"]

#: The models that have a name; any other is `module:function`.
MODELS = ("logistic", "hoeffding-tree")

ModuleName = Annotated[str, StringConstraints(pattern=r"^[^\W\d]\w*(\.[^\W\d]\w*)*$")]


class OptimizerOptions(BaseModel):
    """An optimizer of River: its name and, beside it, its parameters."""

    model_config = ConfigDict(extra="allow", frozen=True)
    __pydantic_extra__: dict[str, float]

    name: Literal["sgd", "adagrad", "adam", "ftrl"] = Field(description="which one")
    learning_rate: float = Field(0.1, gt=0, description="how far a step goes")

    @property
    def parameters(self) -> dict[str, float]:
        """What stands beside name and learning rate."""
        return dict(self.__pydantic_extra__)


class RiverOptions(BaseModel):
    """The model, how it learns, and what it sees of a row."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    model: str = Field("logistic", description="logistic, hoeffding-tree, or module:function of your own")
    model_options: dict[str, Any] = Field(
        {}, description="keyword arguments of River's class, or of your own model's function"
    )
    optimizer: OptimizerOptions = Field(
        OptimizerOptions.model_validate({"name": "adagrad", "learning_rate": 0.25, "eps": 20.0}),
        description="of `logistic`; beside it River's parameters (adagrad: a large eps makes the first steps short)",
    )
    inputs: Literal["auto", "sparse", "named"] = Field(
        "auto",
        description="the dict a model gets: `sparse` has a key for each id, as linear models need; `named` a key for "
        "each feature, with its id as the value; auto: sparse for logistic, otherwise named",
    )
    modules: tuple[ModuleName, ...] = Field(
        (), description="further modules of your own whose classes and functions the model's state may hold"
    )

    @field_validator("model")
    @classmethod
    def _known_model(cls, model: str) -> str:
        module, colon, function = model.partition(":")
        if model in MODELS or (colon and function.isidentifier() and all(map(str.isidentifier, module.split(".")))):
            return model
        raise ValueError(f"{model!r} is neither one of {', '.join(MODELS)} nor module:function")
