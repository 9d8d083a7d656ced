"""The on-disk protocol of a run: where its files lie, what they say, who may write them.

The folder ``experiments/logs/<run_id>/`` is the only truth about a run; there is no daemon and no database. The trainer
is the only writer; everybody else reads, and asks for something by leaving a file in ``control/``. Nothing here needs
more than the standard library, so that ``status`` stays fast.
"""

from drivetrain.run_record.json_files import (
    append_bytes,
    append_line,
    drop_torn_line,
    link_atomic,
    read_json,
    read_jsonl_tail,
    write_atomic,
    write_bytes_atomic,
    write_json_atomic,
)
from drivetrain.run_record.launch import TICKET, Launch, read_launch, write_launch
from drivetrain.run_record.lock import (
    Holder,
    LockState,
    ProcessIdentity,
    RunLock,
    boot_id,
    claim_run,
    probe_lock,
    refuse_to_overwrite,
    refuse_while_trained,
)
from drivetrain.run_record.paths import RunPaths, alerts_file, check_run_id, choose_run_id, project_root, says_anything
from drivetrain.run_record.record import (
    FINAL_STATUSES,
    STATUSES,
    DataChoice,
    RunInfo,
    RunRecord,
    RunState,
    checkpoint_files,
    clear_run,
    git_revision,
    read_run_info,
    read_run_state,
    request,
)

__all__ = [
    "FINAL_STATUSES",
    "STATUSES",
    "TICKET",
    "DataChoice",
    "Holder",
    "Launch",
    "LockState",
    "ProcessIdentity",
    "RunInfo",
    "RunLock",
    "RunPaths",
    "RunRecord",
    "RunState",
    "alerts_file",
    "append_bytes",
    "append_line",
    "boot_id",
    "check_run_id",
    "checkpoint_files",
    "choose_run_id",
    "claim_run",
    "clear_run",
    "drop_torn_line",
    "git_revision",
    "link_atomic",
    "probe_lock",
    "project_root",
    "read_json",
    "read_jsonl_tail",
    "read_launch",
    "read_run_info",
    "read_run_state",
    "refuse_to_overwrite",
    "refuse_while_trained",
    "request",
    "says_anything",
    "write_atomic",
    "write_bytes_atomic",
    "write_json_atomic",
    "write_launch",
]
