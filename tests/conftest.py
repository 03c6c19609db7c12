"""Sets one torch thread per test process.

The networks are small. On a busy machine, two threads that wait for each other can be 100 times slower than one.
"""

import torch

torch.set_num_threads(1)
