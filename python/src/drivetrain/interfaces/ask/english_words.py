"""The English words that `ask` knows, by what they mean. A phrase is written with underscores."""

from __future__ import annotations

from collections.abc import Mapping

MEANINGS: Mapping[str, str] = {
    # What can be done.
    "STOP": "stop halt cancel kill terminate abort quit pause interrupt end shut_down turn_off call_off put_an_end_to",
    "START": (
        "start begin launch run go kick_off fire_up set_off get_going spin_up initiate execute restart_with begins"
    ),
    "TRAIN": "train learn teach fit",
    "TRAINING": "training trainings learning",
    "RESUME": (
        "resume continue carry_on proceed pick_up_where_it_left_off pick_up go_on keep_training unpause pick_up_again"
    ),
    "RESTART": "restart rerun relaunch re-run re-start start_over begin_again start_again",
    "DELETE": "delete remove erase rm discard get_rid_of throw_away wipe purge trash destroy",
    "OVERWRITE": "overwrite overwriting replace",
    "STATUS": (
        "status state stats stat statuses progress progressing eta progression how_far how_long time_left "
        "time_remaining remaining"
    ),
    "REPORT": "report reports summary summarize summarise recap overview",
    "LIST": "list lists listing ls enumerate",
    "LOGS": "log logs console output train.log log_file logfile",
    "COMPARE": "compare comparison comparing vs versus difference differences diff side_by_side",
    "EVALUATE": "evaluate evaluation eval evaluating assess score benchmark test_drive validate",
    "WATCH": "watch monitor observe dashboard live_view watching monitoring",
    "QUEUE": "queue enqueue queued_up line_up",
    "SAMPLE": "sample samples sample_data sample_scenes synthetic_data synthetic_scenes",
    "DOCTOR": (
        "doctor diagnose diagnosis diagnostics health_check check_the_environment check_environment sanity_check "
        "check_the_installation check_installation check_my_setup check_setup check_the_setup "
        "check_my_environment check_the_install check_install"
    ),
    "UI": "ui tensorboard mlflow mlflow_ui web_ui tensor_board",
    "RENDER": "render draw animate gif animation picture video",
    "VERIFY": "verify verification",
    "RUNS": "runs experiments jobs training_runs",
    "SHOW": "show see tell print display give get view check look look_at let_me_see let_me_know inform",
    "MAKE": "make generate create build produce",
    "ADD": "add put submit append",
    "OPEN": "open",
    "SAVE": "save write store",
    # What things are doing.
    "RUNNING": (
        "running doing going working happening alive underway in_progress coming_along done finished finish "
        "ready complete left what's_up what's_up_with whats_up whats_up_with what_is_up_with"
    ),
    "STATE_failed": "failed crashed broken",
    "STATE_stopped": "stopped halted paused cancelled canceled killed terminated aborted",
    "STATE_completed": "completed",
    "STATE_lost": "lost",
    "STATE_stalled": "stalled stuck hung frozen",
    "STATE_queued": "queued pending waiting",
    "STATE_active": "active ongoing current",
    "STATE_deleted": "deleted removed erased",
    "STATE_started": "started began launched trained learned resumed continued evaluated",
    "STATE_ing": "stopping starting deleting resuming removing killing ending launching",
    # Which learner, what for.
    "ALGORITHM_ppo": "ppo proximal_policy_optimization proximal_policy_optimisation proximal_policy",
    "ALGORITHM_sac": "sac soft_actor_critic soft_actor-critic",
    "ALGORITHM_bc": (
        "bc behavior_cloning behaviour_cloning behavioral_cloning behavioural_cloning clone cloning "
        "behaviour_clone behavior_clone"
    ),
    "ALGORITHM_gail": (
        "gail generative_adversarial_imitation_learning adversarial_imitation adversarial_imitation_learning"
    ),
    "ALGORITHM_cimrl": "cimrl",
    "FAMILY_rl": "rl reinforcement_learning reinforcement",
    "FAMILY_imitation": "il imitation_learning imitation",
    "TASK_cartpole": "cartpole cart_pole cart-pole cartpole-v1",
    "TASK_pendulum": "pendulum pendulum-v1",
    "PLANNER_idm": "idm",
    "PLANNER_log_replay": "log_replay",
    "PLANNER_constant_velocity": "constant_velocity constant_speed",
    "PLANNER_rule_based": "rule_based rule-based pdm",
    "TRAFFIC_idm": "reactive_traffic reactive reacting_traffic",
    "TRAFFIC_replay": "replayed_traffic replay_traffic",
    "TRAFFIC_both": "both_traffics both_kinds_of_traffic",
    # Values.
    "KEY_lr": "lr learning_rate learning-rate learningrate step_size",
    "KEY_policy_lr": "policy_lr policy_learning_rate actor_lr actor_learning_rate",
    "KEY_critic_lr": "critic_lr critic_learning_rate q_lr",
    "KEY_steps": "steps step total_steps total-steps timesteps timestep env_steps environment_steps transitions",
    "KEY_epochs": "epochs epoch passes eps",
    "KEY_seed": "seed seeds random_seed",
    "KEY_batch": (
        "batch batch_size batch-size batchsize minibatch mini-batch minibatch_size minibatches mini_batch "
        "mini_batch_size mini-batch_size"
    ),
    "KEY_worlds": "worlds world envs num_worlds parallel_worlds environments num_envs env environment",
    "KEY_processes": "processes process learners learner workers worker procs cores core cpus",
    "KEY_threads": "threads thread",
    "KEY_minutes": "minutes minute min mins",
    "KEY_hours": "hours hour hr hrs h",
    "KEY_seconds": "seconds second sec secs s",
    "KEY_days": "days day",
    "KEY_gamma": "gamma discount discount_factor",
    "KEY_clip": "clip clip_range clip-range clipping",
    "KEY_entropy": "entropy entropy_coefficient entropy_coef ent_coef",
    "KEY_episodes": "episodes episode",
    "KEY_scenes": "scenes scene scenarios scenario",
    "KEY_lines": "lines line rows",
    "MILLION": "million millions mio",
    "THOUSAND": "thousand thousands",
    "BILLION": "billion",
    "DEVICE_cuda": "gpu cuda graphics_card gpus",
    "DEVICE_cpu": "cpu",
    "DEVICE_auto": "auto",
    "RESOURCES": "resources vram ram memory disk disk_space utilization utilisation usage",
    "LANG_ko": "korean hangul hangeul",
    "LANG_en": "english",
    "PIPELINE": "pipeline pipelines",
    "FOLLOW": "follow tail -f live following tailing real_time realtime real-time",
    "SPLIT_test": "test_split test_set",
    "SPLIT_val": "val_split validation_split validation_set validation",
    "NO_MLFLOW": "without_mlflow no_mlflow no-mlflow",
    "LAST": "last latest newest most_recent",
    "BEST": "best",
    "CHECKPOINT": "checkpoint checkpoints weights ckpt",
    "DATA": "data dataset data_set",
    "NUPLAN": "nuplan",
    "DEMONSTRATIONS": "expert_data expert expert-data demonstrations",
    # How words hang together.
    "FROM": (
        "from init_from init-from initialized_from initialised_from warm-start warm_start starting_from "
        "starting_with based_on on_top_of initialize_from initialise_from pretrained_on beginning_from fine-tune "
        "fine_tune finetune initialized_with initialised_with init_with"
    ),
    "AS": "as named called run_id run-id runid name id call_it name_it",
    "AND": "and then plus afterwards followed_by after_that as_well_as also",
    "OR": "or either",
    "WITH": "with using use set",
    "OF": "of to at equal equals = be value",
    "FOR": "for up_to until during till",
    "IN": "in on into",
    "ALL": "all every everything each both entire whole",
    "ONLY": "only",
    "MORE": "more further additional another extra again",
    "SCRATCH": "from_scratch from_zero from_the_beginning from_the_start",
    "NEW": "new fresh anew",
    # What makes a sentence no command.
    "NEG": (
        "not no never dont don't doesnt doesn't didnt didn't cannot can't cant won't wont wouldn't without avoid "
        "except but instead rather nor neither isn't isnt aren't arent wasn't unless excluding nothing none "
        "shouldn't shouldnt mustn't skip leave let_it keep hold prevent refrain nobody nope"
    ),
    "ASK": "how why what when which where who whose whom whether what's whats how's hows who's where's",
    "WHY": "why how_come wrong",
    "SHOULD": (
        "should shall must ought supposed may might can_i could_i do_i should_i may_i advise advice recommend "
        "recommended suggest suggestion better_to worth ok_to okay_to safe_to allowed possible to_do next "
        "is_it_ok is_it_okay is_it_safe what_if how_do how_to how_can how_would how_should how_does how_could "
        "think explain what_happens what_would would_it"
    ),
    "BLOCK": (
        "if once when_done after before later tomorrow tonight while every_time whenever than half double twice "
        "triple increase decrease lower higher raise reduce bigger smaller less fewer schedule soon midnight "
        "noon morning evening yesterday until_the till because since maybe perhaps probably almost nearly "
        "pretend joke email mail send similar like same other one_of end_of the_end undo"
    ),
    "SOFT": "some any something anything someone anybody",
    "IS": "is are was were did does has have had am been being isnt there",
    "BETTER": "better worse best_of stronger",
    "REQUEST": (
        "please pls plz can_you could_you would_you will_you can_u could_u would_u want i_want i_would_like "
        "i'd_like would_like id_like need i_need wanna let's lets let_us kindly i_want_you_to go_ahead "
        "i'd_like_to want_to need_to time_to can_i_get can_i_see can_i_have could_i_get could_i_see may_i_see "
        "may_i_have can_i_please"
    ),
    "THAT": "that it this these those them ones one its it's",
    "FILLER": (
        "a an the my our your me us we i you now right just quickly quick ahead up out so ok okay hey hi hello "
        "thanks thank cheers model models policy policies planner planners agent agents job experiment still "
        "quite task trainer session car driving drive algorithm algorithms method hyperparameters parameters "
        "config configuration settings setting file immediately asap by total budget size number num rate "
        "default defaults currently moment here do drivetrain command yes sure well uh um hmm again_please table "
        "tables full short long simple complete_list detailed machine computer system device time about around "
        "approximately roughly exactly worth_of via through that's limit max maximum process_of have_a take_a "
        "look_at_the history stuff things wise far today page pages browser would could can will language form "
        "markdown random available value_of everyone sir bot buddy mate friend kind kinds i'm im yet much many "
        "used between among setup install installation where_it_left_off where_we_left_off where_it_stopped "
        "for_me again_now"
    ),
}
"""Meaning -> words."""


EMPTY = """
a an the my our your me us i we now just right quickly quick immediately asap up yes do here well so hey hi ok okay
thanks thank please job experiment task session model policy agent planner trainer drivetrain
"""
"""Fillers that say nothing at all: only these may stand beside what ends something."""
FAINT = "end quit cancel pause interrupt"
"""Ends that may as well be of anything else: they need a run, an algorithm or a training beside them."""


def word_table() -> dict[str, str]:
    """Return the meaning of every word and phrase; the first one listed wins."""
    table: dict[str, str] = {}
    for meaning, words in MEANINGS.items():
        for word in words.split():
            table.setdefault(word.replace("_", " ") if "_" in word else word, meaning)
    return table
