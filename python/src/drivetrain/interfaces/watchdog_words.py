"""What the watchdog found and did, in English and Korean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from drivetrain.interfaces.number_text import metric_text, percent_text, step_text

_RULES: Mapping[str, Mapping[Literal["en", "ko"], str]] = {
    "non_finite": {
        "en": "what it learns from or learns is no longer a number",
        "ko": "학습 값이 NaN이나 무한대가 되었습니다",
    },
    "kl_spike": {
        "en": "updates are too long for the data behind them",
        "ko": "업데이트 폭이 데이터에 비해 너무 큽니다",
    },
    "entropy_collapse": {
        "en": "the policy hardly tries anything any more",
        "ko": "정책이 이제 거의 탐색하지 않습니다",
    },
    "explained_variance": {
        "en": "values predict returns worse than a constant would",
        "ko": "가치 예측이 상수로 예측하는 것보다도 나쁩니다",
    },
    "q_blow_up": {
        "en": "action values are far beyond all returns seen",
        "ko": "행동 가치가 지금까지 나온 모든 수익을 크게 벗어납니다",
    },
    "discriminator_saturation": {
        "en": "the discriminator is always right and rewards all driving alike",
        "ko": "판별기가 늘 맞혀서 어떤 주행에도 같은 보상을 줍니다",
    },
    "reward_hacking": {
        "en": "the reward rises while driving gets worse",
        "ko": "보상은 오르는데 주행은 나빠지고 있습니다",
    },
}
_EVIDENCE: Mapping[Literal["en", "ko"], str] = {
    "en": "{metric} {value}, limit {limit}, for {iterations} iterations",
    "ko": "{metric} {value}, 한계 {limit}, 연속 {iterations}회",
}
_DONE: Mapping[str, Mapping[Literal["en", "ko"], str]] = {
    "warn": {"en": "it went on", "ko": "학습은 계속하고 있습니다"},
    "stop": {
        "en": "the run was stopped, its last checkpoint kept",
        "ko": "학습을 멈추고 마지막 체크포인트를 남겼습니다",
    },
    "rollback": {
        "en": "rolled back to step {to_step}, learning rates now {scale} of the config's",
        "ko": "{to_step} 스텝으로 되돌렸고, 학습률은 이제 설정의 {scale} 수준입니다",
    },
}
_WHOLE: Mapping[Literal["en", "ko"], str] = {
    "en": "Check {run}: {what} ({evidence}; step {step}); {done}",
    "ko": "{run} 점검: {what} ({evidence}; {step} 스텝). {done}",
}


def knows(evidence: Mapping[str, Any]) -> bool:
    """Return whether an alert is one of the watchdog's."""
    return evidence.get("rule") in _RULES


def finding_text(run_id: str | None, evidence: Mapping[str, Any], language: Literal["en", "ko"]) -> str:
    """Return what was found and done.

    Args:
        run_id: The run.
        evidence: The ``alert`` event, with ``to_step`` and ``learning_rate_scale`` where the run was rolled back.
        language: Of the text.
    """
    numbers = str(evidence.get("metric", ""))
    if "value" in evidence and "limit" in evidence:
        numbers = _EVIDENCE[language].format(
            metric=numbers,
            value=metric_text(evidence["value"]),
            limit=metric_text(evidence["limit"]),
            iterations=evidence["iterations"],
        )
    # A roll-back that was asked for and could not be done ended the run.
    action = evidence["action"] if evidence["action"] != "rollback" or "to_step" in evidence else "stop"
    done = _DONE[action][language].format(
        to_step=step_text(evidence.get("to_step", 0)), scale=percent_text(evidence.get("learning_rate_scale", 1.0))
    )
    return _WHOLE[language].format(
        run=run_id,
        what=_RULES[evidence["rule"]][language],
        evidence=numbers,
        step=step_text(evidence.get("step", 0)),
        done=done,
    )
