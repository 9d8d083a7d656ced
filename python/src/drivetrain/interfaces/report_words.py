"""The sentences of the report in English and Korean. Headings and column names stay as they are in both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from drivetrain.interfaces import watchdog_words
from drivetrain.interfaces.number_text import bytes_text, metric_text, percent_text, step_text
from drivetrain.interfaces.state_words import in_korean
from drivetrain.runs.advice import Advice
from drivetrain.runs.status import RunStatus

Language = Literal["en", "ko"]
LANGUAGES: tuple[Language, ...] = ("en", "ko")

_SENTENCES: Mapping[str, Mapping[Language, str]] = {
    "none": {"en": "None.", "ko": "없습니다."},
    "no_active_run": {"en": "No active run.", "ko": "실행 중인 학습이 없습니다."},
    "no_metrics": {"en": "No metrics yet.", "ko": "아직 기록된 지표가 없습니다."},
    "usage": {"en": "usage", "ko": "사용 중"},
    "free": {"en": "free", "ko": "남음"},
    "on_cpu": {"en": "none (cpu)", "ko": "없음 (cpu)"},
    "warming_up": {
        "en": "warming up ({remaining} steps remaining)",
        "ko": "아직 속도를 재는 중입니다 ({remaining} 스텝 남음)",
    },
    "stalled": {"en": "stalled ({remaining} steps remaining)", "ko": "응답이 없습니다 ({remaining} 스텝 남음)"},
    "completion": {
        "en": "~{eta} (likely {low} to {high}; {remaining} steps remaining at {rate} steps/s)",
        "ko": "약 {eta} 뒤 (빠르면 {low}, 늦으면 {high}; {remaining} 스텝 남음, 초당 {rate} 스텝)",
    },
    "completion_sure": {
        "en": "~{eta} ({remaining} steps remaining at {rate} steps/s)",
        "ko": "약 {eta} 뒤 ({remaining} 스텝 남음, 초당 {rate} 스텝)",
    },
    "gpu_none": {"en": "none ({reason})", "ko": "없음 ({reason})"},
}

_ADVICE: Mapping[str, Mapping[Language, str]] = {
    "stalled": {
        "en": "Look at {run}: no sign of life for {silent_s} s while {phase} (usual interval {usual}); "
        "see the end of {log}",
        "ko": "{run} 확인: {phase} 중 {silent_s}초 동안 아무 기록이 없습니다 (평소 간격 {usual}). {log} 끝부분을 "
        "살펴보세요",
    },
    "resume": {
        "en": "Resume {run}: {status} at step {step} ({detail}); run: {command}",
        "ko": "{run} 재개: {step} 스텝까지 진행한 뒤 {status} 상태입니다 ({detail}). 재개 명령: {command}",
    },
    "alert": {
        "en": "Check {run}: {message} (step {step})",
        "ko": "{run} 점검: {step} 스텝에서 경고가 나왔습니다 ({message})",
    },
    "collapse": {
        "en": "Stop {run} and go back to best.pt: {metric} has suddenly fallen (newest value {newest}; more than 5 "
        "standard deviations of a 20-point mean)",
        "ko": "{run} 중지: {metric} 값이 갑자기 떨어졌습니다 (최근 값 {newest}, 20개 평균의 표준편차 5배를 넘는 "
        "하락). 학습을 멈추고 best.pt로 돌아가세요",
    },
    "degrading": {
        "en": "Check {run}: {metric} is falling, by {low} to {high} over the next {ahead_points} points (95 % "
        "interval, {num_points} points); best.pt keeps the best policy so far",
        "ko": "{run} 점검: {metric} 값이 떨어지고 있습니다. 앞으로 값 {ahead_points}개 동안 {low}에서 {high}만큼 "
        "변할 것으로 보입니다 (95 % 구간, 값 {num_points}개 기준). 지금까지 가장 좋은 정책은 best.pt에 남아 "
        "있습니다",
    },
    "early_stop": {
        "en": "Consider early stopping for {run}: {metric} has converged, expected change over the next "
        "{ahead_points} points {low} to {high} (95 % interval), less than {delta}, at two looks, {used} of the budget "
        "used; repeated looks make such a verdict less certain than 95 %",
        "ko": "{run} 조기 종료 검토: {metric} 값이 수렴했습니다. 앞으로 값 {ahead_points}개 동안의 변화는 "
        "{low}에서 {high} 사이로 예상되어 (95 % 구간) {delta}보다 작고, 두 번 확인한 결과가 같으며, 예산은 {used} "
        "썼습니다. 여러 번 살펴본 판정이라 확신도는 95 %보다 낮습니다",
    },
    "bottleneck_sim": {
        "en": "{run} is bound by simulation ({fraction} of its time, median of {rows} rows): more processor cores "
        "help, a larger batch or a GPU does not",
        "ko": "{run} 속도: 시뮬레이션이 시간의 {fraction} 정도를 차지합니다 (기록 {rows}개의 중앙값). CPU 코어를 "
        "늘리면 빨라지고, 배치를 키우거나 GPU를 써도 빨라지지 않습니다",
    },
    "bottleneck_infer": {
        "en": "{run} is bound by inference ({fraction} of its time, median of {rows} rows): more worlds per batch or a "
        "smaller policy help",
        "ko": "{run} 속도: 추론이 시간의 {fraction} 정도를 차지합니다 (기록 {rows}개의 중앙값). 배치당 월드 수를 "
        "늘리거나 정책을 작게 하면 빨라집니다",
    },
    "bottleneck_learn": {
        "en": "{run} is bound by gradient steps ({fraction} of its time, median of {rows} rows): fewer epochs, larger "
        "minibatches or a GPU help",
        "ko": "{run} 속도: 그래디언트 스텝이 시간의 {fraction} 정도를 차지합니다 (기록 {rows}개의 중앙값). "
        "에폭을 줄이거나 미니배치를 키우거나 GPU를 쓰면 빨라집니다",
    },
    "gpu_idle": {
        "en": "Increase batch size or worlds for {run}: the GPU is used {utilization} and its memory {memory} (medians "
        "over {span_s} s)",
        "ko": "{run} 속도: GPU에 여유가 있습니다 (사용률 {utilization}, 메모리 {memory}, {span_s}초 동안의 "
        "중앙값). 배치 크기나 월드 수를 늘려 보세요",
    },
    "memory": {
        "en": "Free some memory: {free} of {total} left, and a trainer that asks for more is killed; the largest, "
        "{run}, has used up to {peak}; fewer worlds or a smaller buffer need less",
        "ko": "메모리 확보: {total} 중 {free} 남음, 더 쓰면 학습이 강제 종료될 수 있음; "
        "가장 큰 {run}의 최대 사용량 {peak}; 월드 수나 버퍼 크기를 줄이면 도움",
    },
    "disk": {
        "en": "Free some disk space: {free} left, less than the {needed} that checkpoints may need",
        "ko": "디스크 공간을 확보하세요: {free} 남았는데, 체크포인트에 필요할 수 있는 {needed}보다 적습니다",
    },
}


def sentence(name: str, language: Language) -> str:
    """Return a fixed sentence."""
    return _SENTENCES[name][language]


def gpu_none_text(reason: str, language: Language) -> str:
    """Return that there is no GPU, and why."""
    return _SENTENCES["gpu_none"][language].format(reason=in_korean(reason) if language == "ko" else reason)


def completion_text(status: RunStatus, language: Language) -> str:
    """Return when a run will end, with its interval and the steps that remain."""
    remaining = step_text(max(status.total_steps - status.step, 0))
    if status.pace is None:
        name = "stalled" if status.status == "stalled" else "warming_up"
        return _SENTENCES[name][language].format(remaining=remaining)
    pace = status.pace
    low, high = duration_text(pace.eta_low_s, language), duration_text(pace.eta_high_s, language)
    return _SENTENCES["completion" if low != high else "completion_sure"][language].format(
        eta=duration_text(pace.eta_s, language),
        low=low,
        high=high,
        remaining=remaining,
        rate=step_text(pace.steps_per_s),
    )


def duration_text(seconds: float, language: Language) -> str:
    """Return a duration in words, with about two digits: 40 seconds, 12 minutes, 8 hours, 3.5 days."""
    units = (
        (86400.0, {"en": "day", "ko": "일"}),
        (3600.0, {"en": "hour", "ko": "시간"}),
        (60.0, {"en": "minute", "ko": "분"}),
        (1.0, {"en": "second", "ko": "초"}),
    )
    if seconds == float("inf"):
        return {"en": "unknown", "ko": "알 수 없음"}[language]
    scale, names = next(((scale, names) for scale, names in units if seconds >= 1.5 * scale), units[-1])
    value = seconds / scale
    number = f"{value:.1f}".removesuffix(".0") if value < 9.95 and scale > 60.0 else f"{value:.0f}"
    if language == "ko":
        return f"{number}{names['ko']}"
    return f"{number} {names['en']}{'' if number == '1' else 's'}"


def advice_text(advice: Advice, language: Language) -> str:
    """Return a recommendation with its evidence, in words."""
    evidence: dict[str, Any] = advice.evidence
    kind = f"bottleneck_{evidence['part']}" if advice.kind == "bottleneck" else advice.kind
    shown: dict[str, Any] = {"run": advice.run_id, **evidence}
    for name in ("fraction", "utilization", "memory"):
        if name in evidence:
            shown[name] = percent_text(evidence[name])
    if "span_s" in evidence:
        shown["span_s"] = f"{evidence['span_s']:.0f}"
    if "change_low" in evidence:
        shown |= {
            "low": metric_text(evidence["change_low"]),
            "high": metric_text(evidence["change_high"]),
            "delta": metric_text(evidence["delta"]),
            "newest": metric_text(evidence.get("newest")),
            "used": percent_text(evidence.get("budget_used")),
        }
    if advice.kind == "disk":
        shown |= {"free": bytes_text(evidence["free_bytes"]), "needed": bytes_text(evidence["needed_bytes"])}
    if advice.kind == "memory":
        shown |= {name: bytes_text(evidence[f"{name}_bytes"]) for name in ("free", "total", "peak")}
    if advice.kind == "stalled":
        usual = evidence["usual_interval_s"]
        unknown, unit = ("알 수 없음", "초") if language == "ko" else ("-", " s")
        shown["usual"] = unknown if usual is None else f"{usual:.1f}{unit}"
    if language == "ko":
        shown |= {name: in_korean(evidence[name]) for name in ("phase", "status", "detail") if name in evidence}
    if advice.kind == "resume":
        shown["step"] = step_text(evidence["step"])
    if advice.kind == "alert" and watchdog_words.knows(evidence):
        return watchdog_words.finding_text(advice.run_id, evidence, language)
    if advice.kind == "alert":
        shown |= {"message": evidence.get("message", "alert"), "step": step_text(evidence.get("at_step", 0))}
    return _ADVICE[kind][language].format(**shown)
