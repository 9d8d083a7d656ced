"""Why a sentence is no command, in English and Korean; told as a key and, after bars, what the text names."""

from __future__ import annotations

from collections.abc import Mapping

_TEXTS: Mapping[str, Mapping[str, str]] = {
    "negated": {"en": "it says what not to do", "ko": "하지 말라는 내용이 있습니다"},
    "asks": {"en": "it asks what to do", "ko": "어떻게 할지 묻는 말입니다"},
    "condition": {
        "en": "it names a condition, a time or a comparison",
        "ko": "조건이나 시점, 비교가 들어 있습니다",
    },
    "choice": {"en": "it leaves a choice", "ko": "여러 가지 중에서 고르라는 말입니다"},
    "unknown": {"en": "'{0}' is not understood", "ko": "'{0}', 이 부분을 알 수 없습니다"},
    "not_plain": {"en": "it is no plain command", "ko": "분명한 명령이 아닙니다"},
    "question": {"en": "it is a question", "ko": "명령이 아니라 질문입니다"},
    "nothing": {"en": "it asks for nothing that is known here", "ko": "아는 명령이 없습니다"},
    "several": {"en": "it asks for several things", "ko": "여러 가지 일을 한꺼번에 말합니다"},
    "no_use": {"en": "it has no use for '{0}'", "ko": "이 명령에는 '{0}' 값을 쓸 곳이 없습니다"},
    "more": {"en": "more than what? name the whole budget", "ko": "무엇보다 더인지 알 수 없으니 전체 값을 적어 주세요"},
    "beyond_run": {"en": "it speaks of more than the run", "ko": "런이 아닌 것까지 말합니다"},
    "no_algorithm": {"en": "it names no algorithm", "ko": "알고리즘이 빠져 있습니다"},
    "several_algorithms": {
        "en": "it names several algorithms, and a command starts one run",
        "ko": "알고리즘이 여러 개인데, 명령 하나로는 런 하나만 시작합니다",
    },
    "two_names": {"en": "two names, {0} and {1}", "ko": "이름이 두 개입니다: {0}, {1}"},
    "taken": {"en": "run {0} exists ({1})", "ko": "같은 이름의 런이 이미 있습니다: {0} ({1})"},
    "overwrite": {
        "en": "to overwrite a run, type the command with --overwrite",
        "ko": "덮어쓰려면 --overwrite가 든 명령을 직접 입력해 주세요",
    },
    "cimrl": {
        "en": "CIMRL needs the checkpoint of a clone; say from which bc run",
        "ko": "CIMRL을 시작하려면 BC 체크포인트가 필요하니 어느 BC 런에서 시작할지 적어 주세요",
    },
    "pipeline": {
        "en": "steps, epochs and settings belong to a phase of the pipeline; write them into its config",
        "ko": "스텝, 에폭, 설정값은 파이프라인의 단계마다 따로 정하니 설정 파일에 적어 주세요",
    },
    "again": {
        "en": "again: a new run, or an old one resumed?",
        "ko": "새 런인지, 이전 런을 이어서 하는지 알 수 없습니다",
    },
    "budget": {"en": "{0} counts its budget in {1}", "ko": "{0} 학습량은 {1} 단위로 정합니다"},
    "bad_number": {"en": "{0} is no number of {1}", "ko": "{1} 값으로 쓸 수 없는 수입니다: {0}"},
    "two_values": {"en": "it names two of them: {0}", "ko": "{0}: 둘 이상을 말합니다"},
    "nearest": {
        "en": "there is no run {0}; the nearest one is {1}",
        "ko": "{0}: 그런 런은 없고, 가장 비슷한 이름은 {1}입니다",
    },
    "no_key": {"en": "{0} has no {1} to set", "ko": "{0}에는 {1} 설정이 없습니다"},
    "which_run": {"en": "which run?", "ko": "어느 런인지 알 수 없습니다"},
    "one_run": {"en": "one run at a time", "ko": "한 번에 런 하나만 할 수 있습니다"},
    "restart": {"en": "from its last checkpoint, or a new run?", "ko": "이어서 하는지, 새로 시작하는지 알 수 없습니다"},
    "show_what": {"en": "show what?", "ko": "무엇을 보여 달라는지 알 수 없습니다"},
    "report_how": {"en": "in which language, and where to?", "ko": "보고서의 언어나 저장할 곳을 알 수 없습니다"},
    "which_run_of": {"en": "which {0} run?", "ko": "어느 {0} 런인지 알 수 없습니다"},
    "which_runs": {"en": "which runs?", "ko": "어느 런들인지 알 수 없습니다"},
    "which_policy": {"en": "which policy?", "ko": "어느 정책인지 알 수 없습니다"},
    "which_data": {"en": "which data set?", "ko": "어느 데이터인지 알 수 없습니다"},
    "no_run_id": {"en": "{0} is no run id", "ko": "런 이름이 아닙니다: {0}"},
    "no_run": {"en": "there is no run {0}", "ko": "그런 런은 없습니다: {0}"},
    "refused": {"en": "{0}", "ko": "{0}"},
}


def reason_text(reason: str, language: str) -> str:
    """Return a reason in words: ``taken|ppo_v1|running`` is "run ppo_v1 exists (running)"."""
    key, *named = reason.split("|")
    return _TEXTS[key][language].format(*named)


def reason(key: str, *named: str) -> str:
    """Return a reason as it is passed on."""
    return "|".join([key, *(text.replace("|", "/") for text in named)])
