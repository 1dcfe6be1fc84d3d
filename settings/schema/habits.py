"""How other tools call our keys: who types `epochs=5` is told `trainer.max_epochs=5`."""

from __future__ import annotations

from typing import NamedTuple


class Habit(NamedTuple):
    """Our key, and a word more where the key alone does not do."""

    key: str
    more: str = ""


_TABLE = {
    Habit("trainer.max_epochs"): "epochs epoch num_epochs n_epochs nepochs max_epoch train_epochs num_train_epochs",
    Habit("trainer.max_steps"): "steps iterations num_steps max_iters",
    Habit("data.batch_size"): "bs batch batchsize batch_sz train_batch_size per_device_train_batch_size",
    Habit("data.image_size"): "imgsz img_size imgsize image_sz input_size resolution crop_size size",
    Habit("data.num_workers"): "workers num_worker nworkers n_workers j dataloader_num_workers",
    Habit("data.root"): "data_dir data_path datadir root dataset_dir data_root",
    Habit("data"): "dataset datasets ds",
    Habit("data.val_fraction"): "val_split validation_split val_size",
    Habit("model.pretrained"): "pretrain use_pretrained",
    Habit("model"): "arch architecture net network backbone model_name",
    Habit("model.weights"): "checkpoint init_weights",
    Habit("optimizer.weight_decay"): "wd weightdecay decay l2_reg",
    Habit("optimizer.lr"): "learningrate learning_rate base_lr lr0 max_lr",
    Habit("optimizer.momentum"): "momentum mom",
    Habit("optimizer"): "opt optim optimiser",
    Habit("scheduler"): "sched lr_scheduler lr_schedule schedule lrscheduler lr_policy",
    Habit("scheduler.warmup_epochs"): "warmup warm_up",
    Habit("loss.label_smoothing"): "smoothing label_smooth ls",
    Habit("trainer.accelerator", " (cpu, gpu, ...; how many: trainer.devices)"): "device cuda cpu gpu",
    Habit("trainer.devices"): "gpus num_gpus n_gpu ngpu ngpus num_devices world_size nproc",
    Habit("trainer.precision", " (16-mixed or bf16-mixed)"): "amp fp16 bf16 half mixed_precision use_amp",
    Habit(
        "trainer.accumulate_grad_batches"
    ): "accumulate grad_accum accum_steps gradient_accumulation_steps accumulate_grad",
    Habit("trainer.gradient_clip_val"): "clip clip_grad grad_clip clip_norm max_grad_norm gradient_clip",
    Habit("callbacks.early_stopping.patience"): "patience early_stop early_stopping",
    Habit("callbacks.ema.decay"): "ema model_ema ema_decay",
    Habit("resume"): "ckpt_path ckpt resume_from resume_from_checkpoint checkpoint_path load_from",
    Habit("seed"): "random_seed manual_seed rng random_state",
    Habit("name"): "run_name exp_name experiment_name run_id",
    Habit("paths.runs"): "output output_dir out_dir outdir save_dir log_dir logdir project_dir",
    Habit("augment"): "aug augmentation augmentations transforms transform auto_augment",
    Habit("logger=wandb"): "wandb use_wandb",
    Habit("logger=tensorboard"): "tensorboard use_tensorboard tensorboard_logger",
    Habit("trainer.compile"): "torch_compile torchcompile",
}
HABITS = {word: known for known, words in _TABLE.items() for word in words.split()}
# These are the last parts of keys of ours, and needed only when they stand alone.
ALONE = {
    "pretrained": Habit("model.pretrained"),
    "lr": Habit("optimizer.lr"),
    "weight_decay": Habit("optimizer.weight_decay"),
    "batch_size": Habit("data.batch_size"),
    "max_epochs": Habit("trainer.max_epochs"),
}


def habit(name: str) -> Habit | None:
    """Our key for another tool's name (`imgsz`, `data.imgsz`), if it is a known one."""
    if "." not in name and name in ALONE:
        return ALONE[name]
    return HABITS.get(name.rpartition(".")[2].lower())
