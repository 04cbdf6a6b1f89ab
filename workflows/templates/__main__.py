"""python -m workflows.templates: write the golden YAML."""

from workflows.templates.golden import RENDERED_DIR, golden

for name, text in golden().items():
    (RENDERED_DIR / name).write_text(text)
    print(f"wrote {name}")
