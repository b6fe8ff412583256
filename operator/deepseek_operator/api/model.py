"""What is served: a model of the catalogue, and where its weights are."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from annotated_types import MaxLen, MinLen
from pydantic import Field

from deepseek_operator.api.base import (
    ModelName,
    Resource,
)
from deepseek_operator.api.rules import Rule, exactly_one, matching


class SecretKey(Resource):
    """A key of a Secret in the deployment's namespace."""

    name: Annotated[str, MinLen(1), MaxLen(253)] = Field(description="Name of the Secret.")
    key: Annotated[str, MinLen(1), MaxLen(253)] = Field(default="token", description="Key in the Secret.")


class HuggingFace(Resource):
    """A repository of the Hugging Face hub."""

    repo: Annotated[
        str,
        MaxLen(200),
        matching(
            r"^[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9_.-]+$",
            "is not a repository",
            "write owner/name, such as acme/v3-ft",
        ),
    ] = Field(description="Owner and name, such as acme/v3-ft.")
    revision: Annotated[str, MaxLen(128)] = Field(
        default="", description="Commit, tag or branch. A commit is best: the same weights after every restart."
    )
    token_secret_ref: SecretKey | None = Field(
        default=None, description="Where the access token of a private repository is."
    )


class VolumeClaim(Resource):
    """A directory of a PersistentVolumeClaim in the deployment's namespace."""

    name: Annotated[str, MinLen(1), MaxLen(253)] = Field(description="Name of the PersistentVolumeClaim.")
    path: Annotated[
        str,
        MaxLen(512),
        Rule(
            cel="!self.startsWith('/') && !self.split('/').exists(part, part == '..')",
            holds=lambda path: not path.startswith("/") and ".." not in path.split("/"),
            message="leaves the volume",
            remedy="write a path inside the volume, without a leading / and without ..",
        ),
    ] = Field(default="", description="Directory inside the volume; empty: its root.")


class WeightFormat(StrEnum):
    """How a checkpoint stores its weights."""

    BF16 = "bf16"
    FP8 = "fp8"
    INT8 = "int8"
    INT4 = "int4"
    FP4 = "fp4"


class ModelSource(Resource):
    """Where the weights are: exactly one of huggingFace, persistentVolumeClaim, uri and path; and in which format."""

    hugging_face: HuggingFace | None = Field(default=None, description="A repository of the Hugging Face hub.")
    persistent_volume_claim: VolumeClaim | None = Field(
        default=None, description="A directory of a volume in the cluster."
    )
    uri: (
        Annotated[
            str,
            MaxLen(1024),
            matching(
                r"^(s3|gs|https)://[^\s]+$", "is not an object store address", "write it like s3://bucket/path/to/model"
            ),
        ]
        | None
    ) = Field(default=None, description="An address in an object store: s3://, gs:// or https://.")
    path: Annotated[str, MinLen(1), MaxLen(1024)] | None = Field(
        default=None, description="A directory of this machine; only in the embedded world (deepseek-operator local)."
    )
    precision: WeightFormat | None = Field(
        default=None, description="Format of these weights; the model's native one when left out."
    )

    rules: ClassVar[tuple[Rule, ...]] = (
        exactly_one(
            ("huggingFace", "persistentVolumeClaim", "uri", "path"),
            "names no source of the weights or more than one",
            "set exactly one of huggingFace, persistentVolumeClaim, uri and path, or leave source out for the "
            "catalogue's repository",
        ),
        Rule(
            cel="!has(self.path)",
            holds=lambda source: source.path is None,
            message="a path of a machine means nothing in a cluster",
            remedy="put the weights on a PersistentVolumeClaim and name it in persistentVolumeClaim",
            field="path",
            cluster_only=True,
        ),
    )


class ModelRef(Resource):
    """What is served: an architecture of the catalogue, and where its weights are."""

    name: ModelName = Field(description="Name in the catalogue, as on the hub in lower case: deepseek-v3.1.")
    source: ModelSource | None = Field(
        default=None, description="Own weights of the same architecture; the catalogue's hub repository when left out."
    )
    variants: Annotated[tuple[ModelName, ...], MaxLen(4)] = Field(
        default=(),
        description="Other models of the catalogue that may answer in its place, from their hub repositories, where "
        "that is cheaper or where it fits nowhere; none when left out. Clients ask for `name` whatever serves.",
    )

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="!(self.name in self.variants)",
            holds=lambda model: model.name not in model.variants,
            message="the model is among its own variants",
            remedy="take it out: it serves anyway",
            field="variants",
        ),
        Rule(
            cel="self.variants.all(one, self.variants.exists_one(other, other == one))",
            holds=lambda model: len(set(model.variants)) == len(model.variants),
            message="a variant stands twice",
            remedy="name each once",
            field="variants",
        ),
    )
