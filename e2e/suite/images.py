"""Builds the project's images and brings them into the cluster, by the command that was given."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass

from suite.options import ROOT, Options
from suite.progress import Progress, StepFailedError


@dataclass(frozen=True, slots=True)
class Images:
    """References of the images, as pods name them."""

    operator: str
    runtime: str
    prometheus: str


BUILDS = {
    "operator": ("deepseek-operator", ".", "operator/Dockerfile"),
    "runtime": ("deepseek-runtime-cpu", ".", "runtime/Dockerfile.cpu"),
    "prometheus": ("deepseek-e2e-prometheus", "e2e/prometheus", "e2e/prometheus/Dockerfile"),
}
"""Image name, build context and Dockerfile, from the project's root."""


def references(options: Options) -> Images:
    return Images(**{key: f"{options.image_prefix}/{name}:{options.image_tag}" for key, (name, _, _) in BUILDS.items()})


def load(options: Options, progress: Progress) -> Images:
    """Build and load all images, or trust that they are there."""
    images = references(options)
    if not options.load_image:
        progress.skip("building images", f"--load-image is empty: {images.operator} and the others must be there")
        return images
    for key, (_, context, dockerfile) in BUILDS.items():
        image = getattr(images, key)
        with progress.step(f"image {image}"):
            command = options.load_image.format(image=image, context=context, dockerfile=dockerfile)
            done = subprocess.run(
                ["bash", "-c", command],
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            if done.returncode:
                raise StepFailedError(f"{command}: exit code {done.returncode}\n{done.stdout[-3000:]}")
    return images
