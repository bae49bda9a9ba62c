"""A record of what is known of a prompt, trajectory or pair, in words."""

from collections.abc import Mapping, Sequence
from typing import Any

from dataengine.evidence import lines_of
from dataengine.lineage import Row
from dataengine.screen import indented, one_line
from dataengine.tables import table
from schemas.keys import canonical_json

# -- a prompt


def _prompt(record: Row) -> str:
    prompt = record["prompt"]
    lines = [
        f"prompt {record['id']}",
        _fields(prompt, ("domain", "language", "source", "source_ref", "license", "reference", "verifier")),
    ]
    if prompt["conflict"]:
        lines.append(
            "CONFLICT: sources give different references, so it is verified against none; import the right one with "
            "--source resolution"
        )
    attempts = [
        {
            "trajectory": t["trajectory_id"][:12],
            "stage": t["stage"],
            "policy": t["policy"],
            "sample": t["sample_index"],
            "finish": t["finish_reason"],
            "correct": t["correct"],
            "kept": t["kept"],
            "not_passed": " ".join(t["not_passed"] or []),
            "error": t["error"],
        }
        for t in record["trajectories"]
    ]
    history = [{**row, "created_at": _when(row)} for row in record["rows"]]
    lines += [*_messages(prompt), "", "rows of this prompt:", table(history)]
    lines += ["", f"{len(attempts)} trajectories:", table(attempts)]
    return "\n".join(lines)


# -- a trajectory


def _trajectory(record: Row) -> str:
    return "\n".join([*_asked(record), "", *_attempts(record), *_judged(record), *_runs(record)])


def _asked(record: Row) -> list[str]:
    of, prompt = record["trajectory"], record["prompt"]
    shown = {**of, "sampling": canonical_json(of["sampling"])}
    shown["system_prompt"] = of["system_prompt"] and one_line(of["system_prompt"])
    names = ("stage", "policy", "engine", "sampling", "sample_index", "request_seed", "parent_id", "system_prompt",
             "run_id")  # fmt: skip
    about = [prompt["domain"], f"{prompt['source']} {prompt['source_ref']}".strip()]
    about += [prompt["license"]] if prompt["license"] else []
    return [
        f"trajectory {of['trajectory_id']}",
        _fields(shown, names),
        f"prompt {prompt['prompt_id']}  ({', '.join(about)}, reference {prompt['reference']!r})",
        *_messages(prompt),
    ]


def _attempts(record: Row) -> list[str]:
    names = ("attempt", "finish_reason", "prompt_tokens", "completion_tokens", "max_tokens", "seconds", "error")
    rows = [{**{k: a[k] for k in names}, "when": _when(a), "run": a["run_id"]} for a in record["attempts"]]
    lines = ["attempts:", table(rows, most=100), ""]
    if record["rollouts"]:
        shown = ("attempt", "step", "reward", "advantage", "clipped", "run_id")
        learnt = table([{name: row[name] for name in shown} for row in record["rollouts"]])
        lines += [f"reinforcement learning (without an advantage it is left out of the loss):\n{learnt}", ""]
    if record["family"]:
        family = [
            {
                "step": f["step"],
                "trajectory": f["trajectory_id"][:12],
                "parent": f["parent_id"] and f["parent_id"][:12],
                **{k: f[k] for k in ("did", "stage", "policy", "kept")},
                "not_passed": " ".join(f["not_passed"] or []),
                "error": f["error"],
            }
            for f in record["family"]
        ]
        lines += [f"made from (steps below 0) and made of it:\n{table(family)}", ""]
    return lines


def _judged(record: Row) -> list[str]:
    if record["trajectory"]["error"] is not None:
        return ["it has no reply: the request failed, and is asked again by the next run of its recipe"]
    texts = texts_of(record)
    lines = ["reply:", indented(texts["reply"]), "", "verdicts:", _verdicts(record["verdicts"])]
    for verdict in record["verdicts"]:
        details, votes = details_of(verdict), _votes(verdict)
        if verdict["counts"] and (verdict["outcome"] != "pass" or votes):
            evidence = [table(votes, most=100)] if votes else list(lines_of(details, texts))
            lines += ["", f"{verdict['check']}: {said_of(verdict)}", *map(indented, evidence)]
    if record["reviews"]:
        lines += ["", "people:", _reviews(record["reviews"])]
    return [*lines, "", _kept(record)]


def _verdicts(verdicts: Sequence[Row]) -> str:
    names = ("attempt", "check", "version", "outcome", "score", "reason")
    return table([{k: v[k] for k in names} | _counted(v) | {"run": v["run_id"]} for v in verdicts])


def _reviews(reviews: Sequence[Row]) -> str:
    """Who said what, as what and from where; the same person's word on the same thing again counts for nothing."""
    rows = []
    for said in reviews:
        again = ", again" if said["repeat"] else ""
        row = {"trajectory": said["trajectory_id"][:12], "attempt": said["attempt"], "reviewer": said["reviewer"],
               "role": said["role"], "said": said["verdict"] + again}  # fmt: skip
        if said["a_first"] is not None:
            row["left"] = "a" if said["a_first"] else "b"
        else:
            row["made"] = said["child_id"] and said["child_id"][:12]
        row |= {"tags": " ".join(said["tags"] or []), "note": said["note"], "queue": said["queue"]}
        rows.append(row | {"guideline": said["guideline"]} | _counted(said))
    return table(rows, most=100)


def _counted(row: Row) -> Row:
    return {"counts": "yes" if row["counts"] else "no", "when": _when(row)}


def _votes(verdict: Row) -> list[Row]:
    """What each vote of a judge said, in short; empty for a verdict without votes."""
    votes = details_of(verdict).get("votes")
    known = [v for v in votes if isinstance(v, dict)] if isinstance(votes, list) else []
    return [{name: vote.get(name) for name in ("policy", "verdict", "reason", "analysis")} for vote in known]


def _kept(record: Row) -> str:
    if record["trajectory"]["kept"]:
        return "kept: the verifier passed and no check failed"
    against = [
        f"{v['check']} ({v['outcome']})"
        for v in record["verdicts"]
        if v["counts"]
        and (v["outcome"] in ("fail", "error") or (v["kind"] == "verifier" and v["outcome"] == "undecided"))
    ]
    return f"not kept: {', '.join(against) or 'no check has a verdict'}"


def texts_of(record: Row) -> dict[str, str]:
    """The texts of a trajectory that spans are of: the end of the `prompt`, and the `reply`."""
    return {"prompt": record["prompt"]["messages"][-1]["content"], "reply": record["trajectory"]["text"]}


# -- a pair


def _pair(record: Row) -> str:
    draws = [
        {k: d[k] for k in ("check", "version", "draw", "a_first", "outcome", "score", "reason")}
        | {"when": _when(d), "run": d["run_id"]}
        for d in record["draws"]
    ]
    told = [
        {**p, **{side: p[side] and p[side][:12] for side in ("chosen_id", "rejected_id")}}
        for p in record["preferences"]
    ]
    lines = [f"pair {record['id']}", _fields(record["pair"], ("a_id", "b_id", "run_id")), "", "draws:", table(draws)]
    for draw in record["draws"]:
        if votes := _votes(draw):
            lines += ["", f"{draw['check']}, draw {draw['draw']}:", indented(table(votes, most=100))]
    if record["reviews"]:
        lines += ["", "people:", _reviews(record["reviews"])]
    lines += ["", "which is better:", table(told)]
    for side, reply in record["replies"].items():
        if reply is not None:
            lines += ["", f"{side}: {_trajectory(reply)}"]
    return "\n".join([*lines, *_runs(record)])


PARTS = {"prompt": _prompt, "trajectory": _trajectory, "pair": _pair}


# -- what all have


def _runs(record: Row) -> list[str]:
    if not record["runs"]:
        return []
    rows = [{"run": r["run_id"], "recipe": r["recipe"], "started": r["started_at"][:16], "state": r["state"],
             "code": ", ".join(f"{name} {version}" for name, version in r["versions"].items())}
            for r in record["runs"]]  # fmt: skip
    return ["", "runs:", table(rows, most=400)]


def said_of(verdict: Row) -> str:
    """A verdict in a few words: `fail, language_mixed, score 0.82`."""
    score = "" if verdict["score"] is None else f"score {verdict['score']:.4g}"
    return ", ".join(part for part in (verdict["outcome"], verdict["reason"], score) if part)


def details_of(verdict: Row) -> dict[str, Any]:
    """The details of a verdict; empty where they are no object, as those from elsewhere may be."""
    return verdict["details"] if isinstance(verdict["details"], dict) else {}


def _messages(prompt: Row) -> list[str]:
    return [indented(f"{m['role']}: {m['content']}") for m in prompt["messages"]]


def _when(row: Mapping[str, Any]) -> str:
    return str(row["created_at"])[:16].replace("T", " ")


def _fields(row: Row, names: tuple[str, ...]) -> str:
    return "\n".join(f"  {name:<13} {row[name]}" for name in names if row.get(name) is not None)
