"""One thread for each test process: the networks are small, and two threads that wait for each other on a busy
machine can be a hundred times slower than one."""

import torch

torch.set_num_threads(1)
