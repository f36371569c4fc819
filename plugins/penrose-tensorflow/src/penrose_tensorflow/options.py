"""The options of the executor, as a job gives them."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from penrose_host.executors import MODELS, ModelOptions, is_place

__all__ = ["TensorflowOptions"]


class TensorflowOptions(ModelOptions):
    """The model, how it learns, and where it runs."""

    threads: int = Field(
        1, ge=1, description="threads of TensorFlow; runs repeat byte for byte with equal numbers only"
    )
    device: Literal["auto", "cpu", "gpu"] = Field(
        "auto",
        description="auto: gpu where there is one, otherwise cpu",
        json_schema_extra={"fingerprint": False},  # a run may go on elsewhere
    )
    loop: str = Field(
        "host",
        description="who runs the training loop: host; fit, the method of the compiled Keras model that your `model` "
        "returns; or module:function of your own around it, called as (model, dataset, callbacks)",
    )
    loop_timeout: float = Field(
        120.0,
        gt=0,
        description="seconds that another loop than the host's may take for a batch, or to return at its end",
        json_schema_extra={"fingerprint": False},
    )
    model_fn: str | None = Field(
        None, description="module:function, called as (features, labels, mode, params); instead of `model`"
    )

    @field_validator("loop")
    @classmethod
    def _known_loop(cls, loop: str) -> str:
        if loop in ("host", "fit") or is_place(loop):
            return loop
        raise ValueError(f"{loop!r} is neither host, fit nor module:function")

    @field_validator("model_fn")
    @classmethod
    def _place(cls, model_fn: str | None) -> str | None:
        if model_fn is None or is_place(model_fn):
            return model_fn
        raise ValueError(f"{model_fn!r} is not module:function")

    @model_validator(mode="after")
    def _one_kind_of_model(self) -> Self:
        if self.model_fn is not None and self.model != TensorflowOptions.model_fields["model"].default:
            raise ValueError("a job has either `model` or `model_fn`")
        if self.model_fn is not None and self.loop != "host":
            raise ValueError(f"a `model_fn` is trained by the host's loop, not by `loop: {self.loop}`")
        if self.model_fn is None and self.loop != "host" and self.model in MODELS:
            raise ValueError(f"`loop: {self.loop}` trains a compiled Keras model of your own: model: module:function")
        if self.loop != "host":
            self._unused(f"loop: {self.loop}", "optimizer", "dense_optimizer", "reduction")
        if self.model_fn is not None:
            self._unused("model_fn", "dense_optimizer", "reduction")
        return self

    def _unused(self, what: str, *names: str) -> None:
        fields = TensorflowOptions.model_fields
        given = [name for name in names if getattr(self, name) != fields[name].default]
        if given:
            raise ValueError(f"`{what}` brings its own loss and optimizer; take out {', '.join(given)}")
