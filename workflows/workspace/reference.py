"""Writes the input file's reference, README.md beside this file.

With --check it only reports whether the page is up to date. `make golden` and `make lint` run it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from argotune.steps.common.setting import Setting
from argotune.steps.plan.planning import document_keys
from argotune.steps.settings.run_settings import PREFIX, SETTINGS, annotation_settings
from argotune.workflows.workspace.meanings import MEANINGS
from argotune.workflows.workspace.operator_annotations import OPERATOR_ANNOTATIONS

_INSTALL_FLAGS = {
    "allow-loopback": "always false on a cluster",
    "allow-files": "always false on a cluster",
    "allowed-claims": "`argotune install --allow-claim`",
    "allowed-output-claims": "`argotune install --allow-output-claim`",
    "scorer-images": "`argotune install --scorer-image`",
    "allowed-hosts": "`argotune install --allow-host`",
    "allowed-secrets": "`argotune install --allow-secret`",
    "allowed-priority-classes": "`argotune install --allow-priority-class`",
    "images-digests": "looked up by `argotune install`, unless `--no-digests`",
    "services-dir": "none on a cluster",
    "run-record": "none on a cluster",
}
README = Path(__file__).parent / "README.md"

_HEAD = """# The input file

<!-- Written by `make golden` from reference.py; edit that. -->

A Kaito `Workspace` (kaito.sh/v1alpha1 or v1beta1) with `tuning`, or with
[`inference`](#serving-without-training). Its ConfigMap is in the same file,
in a further one, or in the cluster. One error reports every problem, with the path of the field,
the value, and what is accepted; an unknown field is a problem too.
"""

_BELOW_FIELDS = """\
`inference.template` is refused, as are `resource.count` above 1 and `resource.partition`. Requests mean
the base model by the workspace's name. An adapter without `serving.json`, which argotune's have, is
served with the base's chat template. One of another base, or with other rotary factors than the
others, is refused by the step `plan`, which fetches them before anything costs money. On a GPU the
servers compute with vLLM, by the same rule as after a training (`argotune.dev/engine`). An adapter that
vLLM does not serve, or would serve otherwise (DoRA, ranks above 512, `rank_pattern`, `alpha_pattern`),
has `auto` take transformers with a warning, and `vllm` be refused. One that changes the base itself
(`modules_to_save`, `bias`, ...) is refused by name, because all adapters share the base.

Of the annotations below a service has those about provider and node, `service-*`, `engine`,
`api-keys-secret`, `requests-per-minute`, `question`, `model-source`, `queue` and `priority-class`; the
others are warned about. A node that is made for it lives as long as the service, so spot machines, limits of cost and of
a node's time are refused ([steps/nodes](../../steps/nodes/README.md#a-service-and-its-node)).

## Dataset files

parquet, arrow (file and stream), jsonl, json (a list of objects, or `{"data": [...]}`) and csv,
each also as gzip or zstd; the content tells the format, not the name. Other compressions and
archives (zip, bzip2, xz, tar) are refused by name. The first of these columns that the file has
are used, unless `DatasetConfig` names others:

| columns | become |
|---|---|
| `messages` or `conversations` | a list, or its JSON, of `{role, content}` or `{from, value}` |
| `prompt` + `completion` or `response` | question and answer |
| `instruction` (+ `input`) + `output` | question, with the input below it, and answer |
| `instruction` (+ `context`) + `response` | question, with the context below it, and answer |
| `question` + `answer` | question and answer |
| `text` | one answer without a question: all of it is learnt |

## Where data comes from

| in `tuning.input.urls` | is |
|---|---|
| `https://HOST/FILE`, `http://HOST/FILE` | a file of a server |
| `hf://datasets/OWNER/NAME/FILE`, `hf://datasets/OWNER/NAME@REVISION/FILE` | a file of a data set of the Hugging Face Hub |
| `s3://BUCKET/FILE`, `gs://BUCKET/FILE`, `abfss://CONTAINER@ACCOUNT.dfs.core.windows.net/FILE` | a file of an object store: S3, Google, Azure |
| `oci://REGISTRY/REPOSITORY:TAG` | the files of an image in `/data`, or of an artifact that `oras push` made |
| `volume://CLAIM/FILE` | a file of a claim, in `validationUrls` alone; `volumeSource` reads a whole one to train on |
| `DIRECTORY/FILE` | a file of this machine, for `argotune run` and `plan`; a relative one is below the current directory |

For all but the first and images, FILE may be a directory, of which the files named `.parquet`,
`.arrow`, `.jsonl`, `.json` and `.csv` are read, at any depth, or a pattern: `*` and `[...]` within
one name, `**` for any directories. With `argotune run --allow-loopback`, a URL may also be on a
server of this machine, such as `http://127.0.0.1:8000/FILE`.

Logins are keys of one Secret, `argotune-data` unless `argotune.dev/data-secret` names another one;
the variables of that name on this machine. The step `dataset` alone gets them, and no other keys:

| keys | for |
|---|---|
| `HF_TOKEN`; `HF_ENDPOINT` for a mirror | hf |
| `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, `AWS_REGION`; `AWS_ENDPOINT_URL` for another store such as MinIO | s3 |
| `GOOGLE_APPLICATION_CREDENTIALS_JSON`, the text of a key file | gs |
| `AZURE_STORAGE_KEY`, `AZURE_STORAGE_SAS_TOKEN`, or `AZURE_TENANT_ID`, `AZURE_CLIENT_ID` and `AZURE_CLIENT_SECRET` | abfss |
| `.dockerconfigjson` | oci; here it is the login of `docker login`, where a Secret is named |

Without keys, S3 and Google are asked for what is public. Instead of keys, Azure and AWS take the
identity of the service account `argotune-dataset`: `argotune install --data-azure-client-id` or
`--data-aws-role-arn`. Google's identity of a pod comes from its metadata server, which pods of runs do
not reach.

Hosts inside a private network, those of `AWS_ENDPOINT_URL`, `HF_ENDPOINT` and registries too, must
be allowed by `argotune install --allow-host`, and claims by `--allow-claim`. A claim is mounted
read-only and by the dataset pod alone; where it is ReadWriteOnce, no pod on another node may hold it
meanwhile, and its disk must be in the zone of the run's. With `argotune run` the claim is the
directory `claims/NAME` of `$ARGOTUNE_HOME`. The rules of addresses and checks:
[steps/dataset](../../steps/dataset/README.md#where-data-comes-from).

## A copy of the adapter on a claim

`tuning.output.volumeSource`, or the annotation `argotune.dev/output-claim` in a file that Kaito reads
too, names a PersistentVolumeClaim that `argotune install --allow-output-claim` permits. The image is
made all the same, for the service and its versions are made of it. The files of each adapter go to
`WORKSPACE/sha256-HEX` on the claim, HEX the digest of its image, those of one that the gate rejected
to `WORKSPACE/rejected-HEX`; the run's output `volume` says where. Nothing there is changed or deleted
later. The pods of `plan` and `push` mount the claim, so a run whose claim is missing, cannot be
written to or is in another zone than its disk ends before anything costs money. The rule of
ReadWriteOnce is that of the data's claim, and with `argotune run` the directory is the same. On
volumes that have owners Kubernetes gives all files of the claim to the pods' group, 65532 (fsGroup).

## Beginning with an adapter

With `argotune.dev/start-from: live` each run of a workspace begins with the weights of the adapter
that is in service, and the first one with new ones; some registries refuse a repository that does
not exist yet as they refuse a login, and then the first run takes `none`. An image of any adapter is
named likewise, or as `tuning.input.adapter`, by its digest where its tag may move. Rank, alpha,
layers, rsLoRA and DoRA must be those of the run, and the base the same to the revision: the step
`model` refuses another one by name, with both values, while the node is made. Weights are
safetensors and nothing else. The adapter's registry is reached with the login of `imagePushSecret`
if it is the output's, else with that of `modelAccessSecret`. `argotune.dev/full-retrain-every: "4"`
has every fourth run begin with new weights; how many did not stands in the annotation
`sh.argotune.warm-starts` of the adapter that was pushed last, also of one that was rejected or not
approved, beside `sh.argotune.started-from`. Held-out rows stay what they were, unless
`validation_share` or `split_seed` change: then an adapter may have been trained on rows that are
held out now, and the log warns.
"""  # noqa: E501

_CHECKS = """\
## Checks of answers

`Argotune.checks` is a list of checks that the tuned adapter has to pass before it goes into service,
beside being better than what is there. It answers the prompts of up to `check_rows` held-out rows,
greedily; each check gives every answer a score from 0 to 1, and the mean has to reach `min`. A check
that applies to no row is not passed.

```yaml
training_config:
  Argotune:
    checks:
      - kind: regex
        pattern: (?i)as an ai
        negate: true
      - kind: exact_match
        min: 0.8
        ignore_case: true
      - kind: judge
        url: https://api.openai.com/v1
        model: gpt-4.1-mini
        min: 0.7
        prompt: |
          Question: {prompt}
          Right answer: {reference}
          Is this as right and as polite? {answer}
```

| kind | passes an answer | options, beside `name` and `min` (1 unless given) |
|---|---|---|
| `exact_match` | that is the row's own | `ignore_case` (false), `ignore_whitespace` (true: white space around is nothing, any within is one space), `ignore_punctuation` (false) |
| `regex` | in which `pattern` is found | `pattern`; `negate` (false): in which it is not found |
| `json_schema` | that is one JSON value, valid by `schema` | `schema`, which refers to nothing outside itself; draft 2020-12 unless `$schema` says otherwise |
| `tool_call` | that is a well-formed call of an offered tool, with arguments valid by the tool's schema; rows whose own answer is no call do not count | |
| `judge` | by the share of `scale` that a model gives it | `url` of an API as OpenAI's, up to `/v1`; `model`; `prompt`, in which `{prompt}`, `{answer}` and `{reference}` stand for the row's texts; `scale` (10); `temperature` (0; null: not sent); `min`, which has no default |

`lm_eval` is another kind: it has rows of its own, those of tasks of
[lm-eval](https://github.com/EleutherAI/lm-evaluation-harness), and compares models.

```yaml
      - kind: lm_eval
        tasks: [arc_easy, hellaswag]
        metric: acc_norm
        limit: 500
        min: 0.4
        min_improvement_over_live: -0.01
```

| option | means | default |
|---|---|---|
| `tasks` | names of tasks or groups, as `lm-eval ls tasks` lists them; each has to pass, and has a result of its own | |
| `metric` | of its results, METRIC or METRIC,FILTER, one that is better when it is higher | `acc` |
| `limit` | rows of each task, the first ones | all |
| `num_fewshot` | solved examples before each question | the task's |
| `min` | least score | any |
| `min_improvement`, `min_improvement_over_live` | by how much it has to be above that of the base model, and of the adapter in service where there is one, at least; 0 is no worse, below 0 so much worse is accepted | not compared |

At least one of the last three is given. The image of tune needs the package:
[`EXTRAS=lm-eval`](../../images/README.md#extras); without it, or with a task that lm-eval does not
know, tune ends before it trains. The rows come from the Hub, which evaluate's pod has to reach.
Prompts are those of the task, without the model's chat template; tasks that run code which the model
writes are refused. `argotune evaluate` does not take this kind.

`scorer` has a program of your own score the answers, in an image that the installation allows:
`argotune install --scorer-image tone=registry.example.com/tone@sha256:…`. A run names it and may give
it arguments and variables, in plain text and no secrets. Several such checks run one after the other,
and all have to pass.

```yaml
      - kind: scorer
        scorer: tone
        args: [--for, support]
        min: 0.7
        min_improvement_over_live: 0
```

| option | means | default |
|---|---|---|
| `scorer` | its name in the installation | |
| `name` | what results call the check: lower-case letters, digits and `-` | `scorer`'s |
| `args`, `env` | arguments of the program, variables of its environment | none |
| `min`, `min_row` | least mean score, least score of each row | any |
| `min_improvement`, `min_improvement_over_live` | as with `lm_eval`, but by the lower end of the interval of the rows' differences, with `gate-confidence`; of fewer than 5 rows by the mean | not compared |

The image has the program `/scorer`. It runs as user 65532 for an hour at most, with 4 GiB of memory, a
file system that it can write to below `TMPDIR` alone, and no network. It reads the file that
`ROWS_FILE` names and writes the one that `SCORES_FILE` names, JSON lines both:

```
{"id": "0", "messages": [{"role": "user", "content": "…"}], "reference": "…", "answers": {"new": "…", "live": "…"}}
{"id": "0", "score": 0.8, "live_score": 0.9, "note": "curt"}
```

`answers` has those of `base` and `live` where the check compares with them, and then `base_score` and
`live_score` are wanted. Scores are any finite numbers of which higher ones are better, one line for
each id; the file, notes included, may have 4096 bytes for each row. Missing, further and malformed
lines are named and fail the run. So does an exit code other than 0, but after 75 the program is tried
again. On one machine
`argotune run --scorer tone=./tone.py` names the program, with `--runtime docker` an image.
`argotune evaluate` does not take this kind.

Patterns have the syntax of Rust's regex, without look-around and back-references, so that none takes
longer than the text is long. They are found anywhere; `^` and `$` are the ends of the answer.

A judge is told to end its reply with a line that has the score alone; a reply without one counts as
0, and a judge that never gives one fails the run, as does one that is down, after some tries. Its
key is `OPENAI_API_KEY` of the Secret `argotune-judge`, or of the environment of `argotune run`; it is
sent to `OPENAI_BASE_URL` beside it, else to OpenAI, and to no other server. A judge inside a private
network is allowed by `argotune install --allow-host`, one on this machine by
`argotune run --allow-loopback`.
"""  # noqa: E501


def reference() -> str:
    """Build the page as Markdown."""
    inference = [path for path in MEANINGS if path.startswith("inference.")]
    parts = [
        _HEAD,
        *_fields([path for path in MEANINGS if path not in inference]),
        "",
        "## Serving without training",
        "",
        *_fields(inference),
        "",
        _BELOW_FIELDS,
        *_annotations(),
        "",
        *_of_operator(),
        "",
        *_deciders(),
        "",
        *_config(),
        "",
        _CHECKS,
    ]
    return "\n".join(parts)


def _fields(paths: Iterable[str]) -> list[str]:
    rows = [f"| `{path}` | {MEANINGS[path]} |" for path in paths]
    return ["| field | meaning |", "|---|---|", *rows]


def _annotations() -> list[str]:
    known = annotation_settings()
    rows = [f"| `{PREFIX}{name}` | {_meaning(row)} |" for name, row in known.items()]
    return [
        "## Annotations for settings that Kaito does not have",
        "",
        "| annotation | meaning |",
        "|---|---|",
        *rows,
    ]


def _of_operator() -> list[str]:
    rows = [
        f"| `{PREFIX}{row.name}` | {row.description} | {row.instead} |"
        for row in OPERATOR_ANNOTATIONS.values()
    ]
    return [
        "## Annotations for the operator",
        "",
        "The operator reads them of a Workspace that is applied with kubectl; `submit` and the",
        "other commands warn of them ([workflows/operator](../operator/README.md)).",
        "",
        "| annotation | meaning | without the operator |",
        "|---|---|---|",
        *rows,
    ]


def _meaning(row: Setting) -> str:
    notes = [row.description, *filter(None, [row.value.in_file])]
    if row.choices:
        notes.append(f"one of {', '.join(f'`{choice}`' for choice in row.choices)}")
    if row.providers:
        notes.append(f"for provider {' or '.join(row.providers)}")
    return f"{'; '.join(notes)}. Default: {row.default_meaning or row.default}."


def _deciders() -> list[str]:
    rows = [
        f"| `{row.name}` | {row.decided_by} | {_way_to_set(row)} |" for row in SETTINGS.values()
    ]
    return [
        "## Who decides",
        "",
        "On a cluster, what the installer decides is text in the installed template, and no run",
        "can change it: a file with another value is refused. `argotune run`, and `submit` or",
        "`render` with the whole template, take it from the file. The submitter decides the rest,",
        "as the template's parameters.",
        "",
        "| setting | decided by | set by |",
        "|---|---|---|",
        *rows,
    ]


def _way_to_set(row: Setting) -> str:
    if row.decided_by == "submitter":
        return f"`{row.place or PREFIX + row.name}`" if row.is_annotation else "the schedule"
    return _INSTALL_FLAGS.get(row.name, "") or f"`argotune install --{row.name}`"


def _config() -> list[str]:
    rows = [
        f"| {key.section} | `{key.key}` | {key.effect} | {key.default} |" for key in document_keys()
    ]
    return [
        "## Keys of training_config.yaml",
        "",
        "Every other key of Kaito's sections is refused by name with the reason, or mapped with a",
        "warning; none is dropped without a message. The section `Argotune` is ours.",
        "",
        "| section | key | effect | default |",
        "|---|---|---|---|",
        *rows,
    ]


def main(arguments: list[str]) -> int:
    """Write or compare the page; returns 1 when it differs."""
    same = README.exists() and README.read_text() == reference()
    if arguments == ["--check"]:
        if not same:
            print("workflows/workspace/README.md is not up to date: run `make golden`")
        return 0 if same else 1
    if not same:
        README.write_text(reference())
        print("wrote workflows/workspace/README.md")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
