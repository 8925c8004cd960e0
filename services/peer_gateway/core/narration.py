"""What the doctor has to tell so far: the steps that ended, the facts that were learnt, and in the end the report."""

from __future__ import annotations

from collections.abc import Sequence

from services.peer_gateway.core.findings import Finding
from services.peer_gateway.core.verdicts import Facts, Outcome, Report, Step, StepName, Verdict


class Narration:
    """One step is under way at any time, `stage`; `done` and `end` end it."""

    def __init__(self) -> None:
        self.stage = StepName.RESOLVE
        self.began = 0.0
        """When the step under way began."""
        self.facts = Facts()
        """Frozen; replaced when something is learnt."""
        self.report: Report | None = None
        """Set by `end`."""
        self._steps: list[Step] = []
        self._taken = 0

    def take_steps(self) -> Sequence[Step]:
        """The steps that ended since the last call."""
        taken, self._taken = self._steps[self._taken :], len(self._steps)
        return taken

    def done(self, text: str, now: float, *, then: StepName, outcome: Outcome = Outcome.OK) -> None:
        """The step under way ended and the next one begins."""
        self._add(outcome, text, now)
        self.stage, self.began = then, now

    def end(self, finding: Finding, now: float, text: str = "", outcome: Outcome = Outcome.FAILED) -> None:
        """It is over, with the step under way; `text` tells of that, where the verdict does not."""
        self._add(outcome, text or finding.verdict.replace("-", " "), now)
        self.report = Report(finding.verdict, finding.explanation, tuple(self._steps), self.facts)

    def works(self, text: str, now: float, outcome: Outcome = Outcome.OK) -> None:
        """It is over, and well."""
        facts = self.facts
        where = facts.network or f"network id {facts.network_id}"
        explanation = (
            f"{facts.client_name} speaks eth/{facts.eth_version} on {where}; its head is block {facts.head_number}"
        )
        self.end(Finding(Verdict.WORKS, explanation), now, text, outcome)

    def _add(self, outcome: Outcome, text: str, now: float) -> None:
        self._steps.append(Step(self.stage, outcome, now - self.began, text))
