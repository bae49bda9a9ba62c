"""What a mix would take, for the screen."""

from dataengine.screen import one_line
from dataengine.tables import table
from schemas.mix import AnyMix, Mix, PromptSource
from warehouse.mix_preview import MixPreview


def describe_preview(mix: AnyMix, found: MixPreview) -> str:
    """A line for the whole, a table by source, and what each source leaves out."""
    near = found.near_duplicates
    held_out = sum(source.validation for source in found.sources)
    lines = [
        f"{mix.mix}: {found.rows:,} {mix.rows} of {found.prompts:,} prompts, {held_out:,} rows in validation",
        f"near-duplicate prompts: {near['prompts']:,} in {near['clusters']:,} clusters, {near['moved']:,} moved",
    ]
    rows = sum((s.weight or 0) * s.rows for s in found.sources)
    tokens = sum(s.tokens or 0 for s in found.sources)
    shown = []
    for source in found.sources:
        line = {
            "source": f"{source.number} {_name(mix, source.number - 1)}",
            "candidates": source.candidates,
            mix.rows: source.rows,
            "prompts": source.prompts,
            "validation": source.validation,
        }
        if isinstance(mix, Mix):
            line |= {
                "weight": source.weight,
                "rows_share": round((source.weight or 0) * source.rows / rows, 4) if rows else None,
                "tokens": round(source.tokens) if source.tokens is not None else None,
                "tokens_share": round(source.tokens / tokens, 4) if source.tokens and tokens else None,
            }
            if mix.targets:
                target = mix.targets[source.number - 1]
                line["target"] = f"{target.rows:,} rows" if target.rows else f"{target.share_of_tokens:g} of tokens"
        shown.append(line)
    lines.append(table(shown, most=50))
    for source in found.sources:
        if source.left_out:
            rules = ", ".join(f"{rule} {n:,}" for rule, n in source.left_out.items())
            lines.append(f"source {source.number} leaves out: {rules}")
    return "\n".join(lines)


def _name(mix: AnyMix, number: int) -> str:
    source = mix.sources[number]
    first = source.domain if isinstance(source, PromptSource) else source.stage
    return one_line(", ".join(filter(None, (first, source.where))))
