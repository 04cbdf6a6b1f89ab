from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import msgspec
import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from argotune.steps.common.progress import Progress
from argotune.steps.contracts.model_card import read_card
from argotune.steps.contracts.serving import read_contract
from argotune.steps.contracts.training_plan import write_plan
from argotune.steps.tokens.template import chat_template
from argotune.steps.tokens.tokenise import read_rows
from argotune.steps.tune.params import Params
from argotune.steps.tune.readme import readme
from argotune.steps.tune.run import run
from argotune.steps.tune.vllm import vllm_command
from tests.steps.contracts.test_serving import contract as small_contract
from tests.steps.tune.float64 import TOLERANCE
from tests.steps.tune.models import make_tokenizer, tiny_plan, write_dataset


# PEFT 0.21 reads an attribute by a name that transformers 5.23 calls deprecated.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
@pytest.mark.usefixtures("in_float64")
def test_the_adapter_in_plain_peft_has_the_loss_that_was_measured(
    tmp_path: Path, model_dir: Path
) -> None:
    """Row by row with labels, as any user of PEFT would do it: no packing, no code of ours."""
    write_dataset(tmp_path)
    plan = tiny_plan(epochs=1.0)
    write_plan(tmp_path / "plan.yaml", plan)
    result = run(
        Params(
            plan_file=tmp_path / "plan.yaml",
            model_dir=model_dir,
            work_dir=tmp_path,
            dataset_digest="sha256:d",
        ),
        progress=Progress(),
    )
    base = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float64)
    model = PeftModel.from_pretrained(base, str(tmp_path / "adapter")).eval()
    tokenizer = make_tokenizer()
    rows, _ = read_rows(
        tmp_path / "dataset" / "validation.parquet",
        chat_template(tokenizer, model_dir),
        tokenizer,
        plan.training.max_length,
    )
    total, labels = 0.0, 0
    for start, end in zip(rows.starts, rows.starts[1:], strict=False):
        ids = torch.from_numpy(rows.ids[start:end]).long()[None]
        learned = torch.from_numpy(rows.labelled[start:end])[None]
        with torch.no_grad():
            loss = model(ids, labels=ids.masked_fill(~learned, -100)).loss
        total += float(loss) * int(learned.sum())
        labels += int(learned.sum())
    assert total / labels == pytest.approx(result.tuned_loss, rel=TOLERANCE)


def test_the_directory_is_a_tokenizer_with_the_template_of_training(
    tmp_path: Path, model_dir: Path
) -> None:
    write_dataset(tmp_path)
    write_plan(tmp_path / "plan.yaml", tiny_plan(epochs=1.0))
    params = Params(
        plan_file=tmp_path / "plan.yaml",
        model_dir=model_dir,
        work_dir=tmp_path,
        dataset_digest="sha256:d",
    )
    run(params, progress=Progress())
    adapter = tmp_path / "adapter"
    assert sorted(path.name for path in adapter.iterdir()) == [
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
        "card.json",
        "chat_template.jinja",
        "generation_config.json",
        "serving.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    tokenizer = AutoTokenizer.from_pretrained(adapter)
    assert tokenizer.chat_template == read_contract(adapter).chat_template
    stops = json.loads((adapter / "generation_config.json").read_text())
    contract = read_contract(adapter)
    assert stops == {"do_sample": False, "eos_token_id": contract.stop_token_ids}
    card = read_card(adapter)
    assert card is not None
    assert card.facts["data digest"] == "sha256:d"
    assert [step for step, _ in card.train_loss] == list(range(1, 7))
    assert card.held_out_loss[0][0] == 0


@pytest.mark.parametrize(
    ("base", "said"),
    [
        (
            {"source": "made", "digest": "sha256:dd"},
            "`acme/base`, which argotune made (files sha256:dd)",
        ),
        (
            {"source": "oci:r.io/a:1", "repository": "oci:r.io/a:1", "revision": "sha256:cc"},
            "a phi3 model from `oci:r.io/a:1` (sha256:cc)",
        ),
    ],
)
def test_the_readme_names_no_repository_that_the_weights_are_not_from(
    base: dict[str, str], said: str
) -> None:
    contract = small_contract()
    contract = msgspec.structs.replace(
        contract, base=msgspec.structs.replace(contract.base, **base)
    )
    card = readme(contract, {})
    assert said in card
    assert "base_model:" not in card
    assert "huggingface.co" not in card
    assert vllm_command(contract)[2] == "BASE_DIRECTORY"
    assert "--revision" not in vllm_command(contract)
    (code,) = re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)
    compile(code, "README.md", "exec")


def test_the_readme_holds_the_command_for_vllm() -> None:
    contract = msgspec.structs.replace(small_contract(), rope="short")
    card = readme(contract, {})
    assert card.startswith("---\nbase_model: acme/base\n")
    (command,) = re.findall(r"```sh\n(.*?)```", card, flags=re.DOTALL)
    assert shlex.split(command.replace("\\\n", " ")) == vllm_command(contract)
    assert "with a larger `--max-model-len` vLLM uses the long" in card
    assert "max-model-len` of" not in card
    (code,) = re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)
    compile(code, "README.md", "exec")
