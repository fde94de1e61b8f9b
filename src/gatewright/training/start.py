"""`gatewright.train`: everything is checked, then the run directory is written."""

from __future__ import annotations

import copy
import dataclasses
from contextlib import nullcontext
from pathlib import Path

from rich.console import Console
from torch import nn

from gatewright.config import Config
from gatewright.errors import UserError
from gatewright.hardware.device import device_name
from gatewright.hardware.environment import environment
from gatewright.hardware.measure import peak_flops
from gatewright.plugins import recall_plugins
from gatewright.pretrained.settle import settle
from gatewright.run import CHECKPOINTS, METRICS, TOKENIZER, Run
from gatewright.terminal import Terminal
from gatewright.training.banner import hardware_row
from gatewright.training.checkpoint import TrainerState, load_checkpoint
from gatewright.training.compilation import compile_blocks, compiled, resolve_compile
from gatewright.training.folder import (
    choose_folder,
    claimed,
    existing_run,
    write_config,
    write_environment,
    write_plugins,
)
from gatewright.training.interrupt import Interrupt
from gatewright.training.loop import Setting, Trainer
from gatewright.training.metrics import damaged_lines
from gatewright.training.optimizer import Optimizers
from gatewright.training.parallel import Parallel, parallelised
from gatewright.training.precision import Precision, resolve_precision
from gatewright.training.recompute import recompute
from gatewright.training.resume import check_same_content, check_same_run
from gatewright.training.runtime import runtime
from gatewright.training.saver import Saver
from gatewright.training.store import CheckpointStore
from gatewright.training.subject import open_subject, subject_name
from gatewright.training.tracker import Tracker
from gatewright.training.work import Equipment, Work, create_work


def train(config: Config, *, console: Console | None = None) -> Run:
    """Train the model that ``config`` describes and return its run directory.

    Everything that can be wrong with the request is checked before anything is written: keys, parts, device, precision,
    the run directory, the data. With ``resume="auto"`` the newest sound checkpoint in ``out`` is continued, bit for bit
    as if the run had not stopped; a finished run is returned as it is. Ctrl-C and SIGTERM save and return a run whose
    status is ``interrupted``.

    ``console`` is where progress is shown (default: standard output). Raises `UserError` for mistakes in the request,
    and `RunError` when the run fails: the loss is no longer a number, the disk or the memory is full.
    """
    config = copy.deepcopy(config)
    console = console or Terminal()
    config.validate()
    config.plugins = recall_plugins(config.plugins)
    settle(config)
    with parallelised(config.parallel.mode, config.device) as parallel:
        return _train(config, parallel, console if parallel.is_main else Console(quiet=True))


def _train(config: Config, parallel: Parallel, console: Console) -> Run:
    device = parallel.device
    config.train.precision = resolve_precision(config.train.precision, device)  # type: ignore[assignment]
    parallel.rows(config.train.batch_size * config.train.grad_accumulation)
    folder = parallel.agree(choose_folder(config, subject_name(config)))
    resume, config.out, config.resume = config.resume, str(folder), "never"  # as recorded: what repeats the run
    earlier = existing_run(folder, resume)
    if earlier is not None:
        check_same_run(config, earlier.config, folder)
        if config.train.compile == "auto":
            config.train.compile = earlier.config.train.compile
        if is_done(earlier, config):
            console.print(f"{folder} is finished: nothing to do", highlight=False, markup=False)
            return earlier
    with runtime(config.train, device):
        if not parallel.is_main:
            parallel.wait()  # the main process prepares the data, the others find them prepared
        try:
            work = create_work(config, progress=console.is_terminal)
        finally:
            if parallel.is_main:
                parallel.wait()  # also with a mistake, which the others find too
        if earlier is not None:
            check_same_run(config, earlier.config, folder)
            check_same_content(work.describe(), earlier.environment.get("data"), folder)
        with claimed(folder) if parallel.is_main else nullcontext():
            if parallel.is_main and (existing_run(folder, resume) is None) != (earlier is None):
                raise UserError(f"out={folder} was changed by another process; start again")
            _train_in(folder, config, work, parallel, console, earlier is not None)
    return Run(folder)


def _train_in(folder: Path, config: Config, work: Work, parallel: Parallel, console: Console, resuming: bool) -> None:
    """Build model and optimizer, restore them if there is something to restore, write what is known, train."""
    options, device = config.train, parallel.device
    subject = open_subject(config, device if config.init else parallel.birthplace)
    model, companion = subject.model, work.companion(subject.model)
    options.compile = resolve_compile(config, device, work.flops_per_token(subject.cost))
    precision = Precision(options.precision, device)
    recompute(model, options.recompute)
    forward = parallel.wrap(model, options.precision)
    if options.compile == "blocks":
        compile_blocks(model, options.deterministic, device)
    elif options.compile:
        forward = compiled(forward, options.deterministic, device)
    if any(parameter.is_meta for parameter in model.parameters()):
        model.to_empty(device=device)
        model.initialise(options.seed)
    optimizers = Optimizers(model, options, device, companion, parallel)
    store = CheckpointStore(folder / CHECKPOINTS, options.keep_last)
    state = TrainerState()
    remarks: list[str] = []
    if resuming:
        state, remarks = restore(store, model, companion, optimizers, precision)
        if lost := damaged_lines(folder / METRICS):
            remarks.append(f"{folder / METRICS}: {lost} damaged line{'s' if lost > 1 else ''}, passed over")
        if state.step > options.max_steps:
            raise UserError(f"train.max_steps={options.max_steps}: the run in {folder} is at step {state.step} already")

    peak = parallel.agree(peak_flops(device, options.precision) if parallel.is_main else None)
    if peak.flops is not None:
        peak = dataclasses.replace(peak, flops=peak.flops * parallel.world_size)
    record = environment(device, options.precision, peak, options.seed)
    record |= {"architecture": subject.architecture, "data": work.describe(), "validation": dict(work.scored)}
    record["processes"] = parallel.world_size
    if parallel.is_main:
        write_config(folder, config)
        write_plugins(folder, config)
        write_environment(folder, record, state.step if resuming else None)
        if not (folder / TOKENIZER).exists():
            work.tokenizer.save(folder / TOKENIZER)

    updater = work.updater(Equipment(model, forward, companion, optimizers, precision, parallel, config))
    tracker = Tracker(
        folder if parallel.is_main else None,
        console,
        options.max_steps,
        tensorboard=options.tensorboard,
        resume_step=state.step if resuming else None,
    )
    setting = Setting(config, folder, subject, companion, peak, work.flops_per_token(subject.cost))
    try:
        rows = {**subject.rows, **hardware_row(device_name(device), options.precision, peak), **work.rows(config)}
        tracker.start(rows, state.step)
        for remark in remarks:
            tracker.note(remark)
        with Interrupt() as interrupt, Saver(store, parallel, options.async_checkpoints) as saver:
            Trainer(setting, updater, state, saver, tracker).run(interrupt)
    finally:
        tracker.close()


def restore(
    store: CheckpointStore,
    model: nn.Module,
    companion: nn.Module | None,
    optimizers: Optimizers,
    precision: Precision,
) -> tuple[TrainerState, list[str]]:
    """Load the newest sound checkpoint into modules, optimizers and scaler; what there is to say about it.

    Without one the state is that of a run that has not begun.
    """
    parallel = optimizers.parallel
    path, problems = parallel.agree(store.newest_sound() if parallel.is_main else None)
    if path is None:
        return TrainerState(), [*problems, "no sound checkpoint: starting afresh"]
    state = load_checkpoint(path, model, companion, optimizers)
    if state.scaler:
        precision.scaler.load_state_dict(state.scaler)
    return state, [*problems, f"continuing from {path}"]


def is_done(run: Run, config: Config) -> bool:
    """Whether the run has finished as many steps as are asked for; a damaged summary is written again."""
    try:
        summary = run.summary or {}
    except UserError:
        return False
    return summary.get("status") == "finished" and summary.get("steps") == config.train.max_steps
