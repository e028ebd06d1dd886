"""The presets: named sets of values, each with a summary, that differ from the defaults of `TrainConfig`."""

from __future__ import annotations

from typing import Any

PRESETS: dict[str, tuple[str, dict[str, Any]]] = {
    "laptop": ("two CPU cores, four minutes on a megabyte of text", {}),
    "laptop-long": (
        "two CPU cores, half an hour on a megabyte of text",
        {
            "hidden_size": 768,
            "dropout": 0.3,
            "drop_connect": 0.1,
            "epochs": 10.0,
            "learning_rate": 3e-3,
            "schedule": "trapezoid",
            "weight_decay": 0.065,
        },
    ),
    "gpu": (
        "one GPU",
        {
            "hidden_size": 1024,
            "dropout": 0.5,
            "drop_connect": 0.1,
            "batch_size": 64,
            "seq_length": 64,
            "epochs": 12.0,
            "schedule": "trapezoid",
            "weight_decay": 0.3,
        },
    ),
    "karpathy": (
        "char-rnn's published defaults: 2 layers of 128, RMSprop",
        {
            "hidden_size": 128,
            "num_layers": 2,
            "embedding_size": 0,
            "dropout": 0.0,
            "state_drop": 0.0,
            "batch_size": 50,
            "seq_length": 50,
            "epochs": 50.0,
            "optimizer": "rmsprop",
            "learning_rate": 2e-3,
            "schedule": "char-rnn",
            "weight_decay": 0.0,
            "grad_clip": 5.0,
            "val_fraction": 0.05,
        },
    ),
    "blog": (
        "the post this project grew from: one row, one-hot, loss on one character a window, 300 epochs",
        {
            "hidden_size": 128,
            "num_layers": 1,
            "embedding_size": 0,
            "dropout": 0.0,
            "state_drop": 0.0,
            "batch_size": 1,
            "min_seq_length": 10,
            "seq_length": 40,
            "loss_on": "last",
            "epochs": 300.0,
            "optimizer": "adam",
            "learning_rate": 1e-3,
            "schedule": "constant",
            "warmup": 0.0,
            "weight_decay": 0.0,
            "grad_clip": 0.0,
            "temperatures": (1.0, 0.1),
        },
    ),
}


def default_preset(*, has_gpu: bool) -> str:
    """The preset where none is named, and epochs or steps say how long to train."""
    return "gpu" if has_gpu else "laptop"
