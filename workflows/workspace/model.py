"""A workspace, independent of the version of Kaito's API in its file."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from argotune.presets.schema import Method
from argotune.steps.contracts.service_plan import AskedAdapter
from argotune.steps.settings.run_settings import SETTINGS, place_of
from argotune.workflows.workspace.fields import flag_of

TEMPLATE, SERVICE_TEMPLATE = "finetune", "serve"
"""Names of the WorkflowTemplates of trainings, and of services without one."""
URLS, VALIDATION_URLS = "tuning.input.urls", "tuning.input.validationUrls"
"""Fields of the file with URLs."""
OUTPUT_VOLUME = "tuning.output.volumeSource"
ADAPTERS = "inference.adapters"
"""Field of the file with the adapters of a service without training."""
_PLACES_OF_INFERENCE = {
    "preset": "inference.preset.name",
    "model-access-secret": "inference.preset.presetOptions.modelAccessSecret",
    "config": "inference.config",
    "push-secret": ADAPTERS,
    "data-claim": ADAPTERS,
}
Options = Mapping[str, str]
"""The settings of annotations or flags, by their names in the table of settings: the checked texts
of the file. A setting that is not given is missing."""


def provider_of(options: Options) -> str:
    """Return the provider of the run's node; by default that of `argotune submit`."""
    return options.get("provider", SETTINGS["provider"].default)


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """One fine-tuning job, or one service without training."""

    adapters: tuple[AskedAdapter, ...] | None = None
    """Adapters that a service without training serves; None: the file is about training, and
    without training method, data and output say nothing."""
    name: str
    """A DNS label, which also names the service and the served adapter."""
    namespace: str | None
    """None: the one that the command works in."""
    labels: Mapping[str, str]
    """The file's labels, which its runs have too."""
    preset: str
    """Name of the model preset, aliases resolved."""
    own_preset: str
    """The preset itself as JSON, where it is none of argotune's."""
    method: Method
    urls: tuple[str, ...]
    """Dataset URLs; their queries may be secret."""
    validation_urls: tuple[str, ...]
    """URLs of files whose rows are all held out, likewise; none: a share of the rows is."""
    data_secret: str | None
    """Secret with the logins of the dataset's sources."""
    data_claim: str | None
    """PersistentVolumeClaim with the dataset or validation files, that of volume URLs."""
    config: str
    """Text of training_config.yaml; empty for the preset's defaults."""
    output_image: str
    """REGISTRY/REPOSITORY[:TAG], or oci:DIRECTORY[:TAG] with an absolute directory."""
    push_secret: str | None
    """Secret for the output image; None for oci: directories."""
    instance_type: str | None
    """Cloud SKU; None for existing nodes and this machine."""
    label_selector: Mapping[str, str]
    """Labels of the GPU nodes."""
    model_source: str | None
    """Where the weights come from in place of the preset's own source."""
    model_access_secret: str | None
    """Secret with the Hub's token, for gated models."""
    options: Options
    flags: Collection[str] = ()
    """Names of the settings that flags of the command line replace."""
    warnings: tuple[str, ...]
    """Warnings for the user, one sentence each."""
    host_warnings: tuple[str, ...] = ()
    """Those of hosts inside a private network, for commands that ask no installation whether it
    permits them."""
    problems_before_submit: tuple[str, ...]
    """Problems of a file that is run, but not of one that is only shown: placeholders that the user
    must fill in."""

    @property
    def is_service(self) -> bool:
        """Whether it is a service without training."""
        return self.adapters is not None

    @property
    def template(self) -> str:
        """Name of the WorkflowTemplate of its runs."""
        return SERVICE_TEMPLATE if self.is_service else TEMPLATE

    def place_of(self, name: str) -> str:
        """Where the setting is: its flag, or its place in the file."""
        if name in self.flags:
            return flag_of(name)
        elsewhere = _PLACES_OF_INFERENCE.get(name) if self.is_service else None
        return elsewhere or place_of(name)

    @property
    def all_urls(self) -> Iterator[tuple[str, str]]:
        """Each URL after the place where it is given."""
        held_out = "validation-urls"
        of_held_out = self.place_of(held_out) if held_out in self.flags else VALIDATION_URLS
        places = {self.place_of("urls"): self.urls, of_held_out: self.validation_urls}
        for place, urls in places.items():
            yield from ((f"{place}[{index}]", url) for index, url in enumerate(urls))
