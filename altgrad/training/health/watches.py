"""The run's doctor: turns logged numbers into findings that a person should know."""

from typing import Any

from altgrad.quantization.recipe import PrecisionConfig
from altgrad.training.health.alerts import CRITICAL, WARNING, Alert, AlertDesk, DivergenceWatch
from altgrad.training.health.guards import Finding, GuardConfig


class Health:
    """Limits on logged numbers and a rising validation loss; only reports, never stops a run."""

    def __init__(self, config: GuardConfig, precision: PrecisionConfig) -> None:
        cooldown = {CRITICAL: config.critical_cooldown_s, WARNING: config.warning_cooldown_s}
        self.desk = AlertDesk(config.watches(precision), cooldown)
        self.divergence = DivergenceWatch(config.divergence_patience)

    def look(self, metrics: dict[str, float]) -> list[Finding]:
        """New findings in one step's numbers."""
        alerts = self.desk.consider(metrics)
        if "val_loss" in metrics:
            rising = self.divergence.observe(metrics["val_loss"])
            if rising is not None and self.desk.let_through(rising):
                alerts.append(rising)
        return [_finding(alert) for alert in alerts]

    def is_news(self, finding: Finding) -> bool:
        """Whether a finding of another guard should reach a phone: its name has been silent."""
        return self.desk.let_through(Alert(finding.level, finding.name, finding.reason))

    def state_dict(self) -> dict[str, Any]:
        return self.divergence.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.divergence.load_state_dict(state)


def _finding(alert: Alert) -> Finding:
    return Finding("continue", alert.text, level=alert.level, name=alert.name)
