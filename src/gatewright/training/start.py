"""`gatewright.train`: everything is checked, then the run directory is written."""

from __future__ import annotations

import copy
from dataclasses import asdict
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor, nn

from gatewright.config import Config
from gatewright.data import BlockSampler, TokenizedCorpus, evaluation_batches, prepare, text_units
from gatewright.errors import UserError
from gatewright.hardware.compiler import check_compiler
from gatewright.hardware.device import device_name, resolve_device
from gatewright.hardware.environment import environment
from gatewright.hardware.measure import peak_flops
from gatewright.model.build import build
from gatewright.model.cost import cost as cost_of
from gatewright.model.cost import training_memory
from gatewright.model.name import architecture_name
from gatewright.plugins import load_plugins
from gatewright.run import CHECKPOINTS, TOKENIZER, Run
from gatewright.training.banner import start_rows
from gatewright.training.checkpoint import TrainerState, load_checkpoint
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
from gatewright.training.optimizer import Optimizers
from gatewright.training.parallel import SingleProcess, create_parallel
from gatewright.training.precision import Precision, resolve_precision
from gatewright.training.resume import check_same_content, check_same_run
from gatewright.training.runtime import runtime
from gatewright.training.store import CheckpointStore
from gatewright.training.tracker import Tracker
from gatewright.training.update import Updater


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
    console = console or Console()
    config.validate()
    config.plugins = load_plugins(config.plugins)
    parallel = create_parallel(config.parallel.mode)
    device = resolve_device(config.device)
    config.train.precision = resolve_precision(config.train.precision, device)  # type: ignore[assignment]
    if config.train.compile:
        check_compiler(device)
    folder = choose_folder(config, architecture_name(config.model))
    resume, config.out, config.resume = config.resume, str(folder), "never"  # as recorded: what repeats the run
    earlier = existing_run(folder, resume)
    if earlier is not None:
        check_same_run(config, earlier.config, folder)
        if is_done(earlier, config):
            console.print(f"{folder} is finished: nothing to do", highlight=False, markup=False)
            return earlier
    with runtime(config.train):
        data = prepare(config.data, progress=console.is_terminal)
        settle_vocabulary(config, data)
        if earlier is not None:
            check_same_run(config, earlier.config, folder)
            check_same_content(data.describe(), earlier.environment.get("data"), folder)
        length, rows = config.model.block_size, config.train.batch_size
        sampler = BlockSampler(data.train, length, rows * config.train.grad_accumulation, config.train.seed)
        validation = evaluation_batches(data.validation, length, rows, config.train.eval_tokens)
        with claimed(folder):
            if (existing_run(folder, resume) is None) != (earlier is None):
                raise UserError(f"out={folder} was changed by another process; start again")
            _train_in(folder, config, data, sampler, validation, device, parallel, console, earlier is not None)
    return Run(folder)


def _train_in(
    folder: Path,
    config: Config,
    data: TokenizedCorpus,
    sampler: BlockSampler,
    validation: list[tuple[Tensor, Tensor]],
    device: torch.device,
    parallel: SingleProcess,
    console: Console,
    resuming: bool,
) -> None:
    """Build model and optimizer, restore them if there is something to restore, write what is known, train."""
    options = config.train
    model = build(config.model, seed=options.seed, device=device)
    precision = Precision(options.precision, device)
    optimizers = Optimizers(model, options, device)
    store = CheckpointStore(folder / CHECKPOINTS, options.keep_last)
    state = TrainerState()
    remarks: list[str] = []
    if resuming:
        state, remarks = restore(store, model, optimizers, precision)
        if state.step > options.max_steps:
            raise UserError(f"train.max_steps={options.max_steps}: the run in {folder} is at step {state.step} already")

    peak = peak_flops(device, options.precision)
    setting = Setting(
        config=config,
        folder=folder,
        architecture=architecture_name(model),
        cost=cost_of(model),
        peak=peak,
        validation=validation,
        units=text_units(data, validation),
    )
    record = environment(device, options.precision, peak, options.seed)
    record |= {"architecture": setting.architecture, "data": data.describe(), "validation": asdict(setting.units)}
    write_config(folder, config)
    write_plugins(folder, config)
    write_environment(folder, record, state.step if resuming else None)
    if not (folder / TOKENIZER).exists():
        data.tokenizer.save(folder / TOKENIZER)

    forward: nn.Module = parallel.wrap(model)
    if options.compile:
        forward = torch.compile(forward, dynamic=False)  # type: ignore[assignment]
    updater = Updater(model, forward, optimizers, sampler, precision, parallel, options)
    tracker = Tracker(
        folder,
        console,
        options.max_steps,
        tensorboard=options.tensorboard,
        resume_step=state.step if resuming else None,
    )
    memory = training_memory(config.model, options.batch_size, precision=options.precision)
    try:
        block = start_rows(config, setting.architecture, setting.cost, data, device_name(device), peak, memory)
        tracker.start(block, state.step)
        for remark in remarks:
            tracker.note(remark)
        with Interrupt() as interrupt:
            Trainer(setting, updater, state, store, tracker).run(interrupt)
    finally:
        tracker.close()


def restore(
    store: CheckpointStore, model: nn.Module, optimizers: Optimizers, precision: Precision
) -> tuple[TrainerState, list[str]]:
    """Load the newest sound checkpoint into model, optimizers and scaler; what there is to say about it.

    Without one the state is that of a run that has not begun.
    """
    path, problems = store.newest_sound()
    if path is None:
        return TrainerState(), [*problems, "no sound checkpoint: starting afresh"]
    state = load_checkpoint(path, model, optimizers)
    if state.scaler:
        precision.scaler.load_state_dict(state.scaler)
    return state, [*problems, f"continuing from {path}"]


def is_done(run: Run, config: Config) -> bool:
    """Whether the run has finished as many steps as are asked for."""
    summary = run.summary or {}
    return summary.get("status") == "finished" and summary.get("steps") == config.train.max_steps


def settle_vocabulary(config: Config, data: TokenizedCorpus) -> None:
    """Let the tokenizer set ``model.vocab_size``, or check that the model's own is large enough for it."""
    size = data.tokenizer.vocab_size
    if config.data.vocabulary == "tokenizer":
        config.model.vocab_size = size
    elif config.model.vocab_size < size:
        raise UserError(
            f"model.vocab_size={config.model.vocab_size} is less than the {size} tokens of data.tokenizer="
            f"{config.data.tokenizer}; raise it, or let data.vocabulary=tokenizer set it"
        )
