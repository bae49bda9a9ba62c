"""Rows from which tests are made: what may be left out, and what is refused."""

from typing import Any

import pytest
from pydantic import ValidationError

from schemas.code_problem import CodeProblem, Submission


def test_a_text_is_a_program_and_nothing_is_no_list() -> None:
    problem = CodeProblem.model_validate(
        {
            "generators": "print(1)",
            "correct": ["a", {"program": "b", "language": "cpp"}, {"program": "c", "language": None}],
            "incorrect": None,
            "verify": {"language": "javascript", "cases": [["1", "2"]], "tests": None, "time_limit": None},
        }
    )
    assert problem.generators == [Submission(program="print(1)")]
    assert [(s.program, s.language) for s in problem.correct] == [("a", None), ("b", "cpp"), ("c", None)]
    assert problem.incorrect == []
    assert problem.verify.language == "javascript"
    assert CodeProblem.model_validate({"generators": ["x"], "correct": ["x"], "verify": None}).verify.count == 0


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"generators": []}, "generators"),
        ({"generators": None}, "generators"),
        ({"generators": 7}, "generators"),
        ({"correct": []}, "correct"),
        ({"correct": [""]}, "correct.0.program"),
        ({"correct": ["x" * 200_001]}, "correct.0.program"),
        ({"incorrect": [{"program": "x", "language": "cobol"}]}, "incorrect.0.language"),
        ({"incorrect": [{"program": "x", "verdict": "WA"}]}, "incorrect.0.verdict"),
        ({"verify": {"expression": "f(ANSWER) == 1"}}, "verify"),
        ({"verify": {"case": []}}, "verify.case"),
        ({"verify": [["1", "2"]]}, "verify"),
        ({"seeds": 3}, "seeds"),
    ],
)
def test_what_is_no_problem_is_refused_with_its_place(change: dict[str, Any], place: str) -> None:
    with pytest.raises(ValidationError) as refused:
        CodeProblem.model_validate({"generators": ["x"], "correct": ["x"], **change})
    assert ".".join(map(str, refused.value.errors()[0]["loc"])) == place
