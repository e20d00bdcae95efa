"""A model whose late copies a test can hold back, so that what happens before them is certain."""

from __future__ import annotations

import threading

import torch
from torch import nn

import pyckpt

OVERLAP = pyckpt.SaveOptions(staging="overlap")


class HeldCopies:
    """Late copies that don't begin before ``go`` is set."""

    def __init__(self):
        self.go = threading.Event()
        self.begun = threading.Event()
        self.fault = None

    def hold(self, job):
        def held():
            self.begun.set()
            assert self.go.wait(30)
            if self.fault is not None:
                raise self.fault
            job()

        return held

    def soon(self):
        """Lets go while this thread waits."""
        threading.Timer(0.1, self.go.set).start()


class Network(nn.Module):
    def __init__(self, max_norm=None):
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(100, 64, max_norm=max_norm)
        self.body = nn.Sequential(nn.Linear(64, 64), nn.BatchNorm1d(64), nn.Linear(64, 64))

    def forward(self, numbers):
        return self.body(self.table(numbers))


def learn(model):
    model.zero_grad()
    model(torch.randint(0, 100, (16,))).square().sum().backward()
