"""What runs and machines say of themselves in English, in Korean: states, phases, ends, reasons."""

from __future__ import annotations

import re
from collections.abc import Mapping

_KOREAN: Mapping[str, str] = {
    "starting": "시작",
    "running": "실행",
    "stalled": "응답 없음",
    "stopping": "중지 중",
    "completed": "완료",
    "stopped": "중지됨",
    "failed": "실패",
    "lost": "끊김",
    "queued": "대기",
    "collecting": "경험 수집",
    "evaluating": "평가",
    "saving": "저장",
    "finished": "마무리",
    "killed?": "강제로 종료된 것으로 보임",
    "host rebooted": "컴퓨터가 다시 시작됨",
    "died while starting": "시작하다가 종료됨",
    "being submitted": "클러스터에 넘기는 중",
    "killed, and started again by its job": "강제로 종료되어 작업이 다시 시작하는 중",
    "on Slurm": "Slurm 대기열",
    "NVML library not found": "NVML 라이브러리를 찾을 수 없음",
    "NVML lists no device": "NVML에 잡히는 장치가 없음",
    "the package nvidia-ml-py is not installed": "nvidia-ml-py 패키지가 설치되어 있지 않음",
}
_PATTERNS: tuple[tuple[str, str], ...] = (
    (r"on (\S+), judged by its heartbeat", r"\1에서 실행, 신호로 판단"),
    (r"on Ray at (\S+)", r"Ray 대기열 \1"),
    (r"pid (\d+) lives without its lock", r"잠금 없이 살아 있음, pid \1"),
)


def in_korean(text: str) -> str:
    """Return a state or reason in Korean, or as it is where it is anything else, such as an error's message."""
    if text in _KOREAN:
        return _KOREAN[text]
    for pattern, korean in _PATTERNS:
        if re.fullmatch(pattern, text):
            return re.sub(pattern, korean, text)
    return text
