"""Train a ticket in a training loop of your own. Takes under a minute; the cells (# %%) run in an editor as a notebook.

A ticket is a mask together with the parameters and buffers that the last level started from. It knows nothing of
lthrun's training: any loop over the same architecture can train it, as long as pruned weights stay zero.
"""

# %% A ticket. This makes a small one; instead, name the file of any run: runs/ticket-s0-XXXXXXXX/ticket.safetensors
import torch
from torch.nn.functional import cross_entropy

import lthrun
from lthrun.models import build_model

settings = {"model.name": "resnet20", "data.image_size": 16, "training.epochs": 1, "pruning.steps": 1}
run = lthrun.run("smoke/ticket", out="runs/examples", **settings)
ticket = lthrun.load_ticket(run.run_dir / "ticket.safetensors")
print(f"the ticket keeps {100 - ticket.sparsity:.1f} % of the weights of {len(ticket.masks)} tensors")

# %% Your model, of the same architecture. Its own initial values do not matter: the ticket has them.
model = build_model("resnet20", classes=2, seed=0)
ticket.apply(model)

# %% Your optimizer. `hold` sets pruned weights to zero after each of its steps, whatever momentum would do to them.
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
hold = ticket.hold(model, optimizer)

# %% Your data and your loop: here, noise with labels.
torch.manual_seed(0)
images, labels = torch.rand(64, 3, 16, 16), torch.randint(2, (64,))
for step in range(20):
    loss = cross_entropy(model(images), labels)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    if step % 5 == 4:
        print(f"step {step + 1:2}: loss {loss.item():.3f}")

# %% The mask holds.
pruned = sum(int((model.get_parameter(name) == 0).sum()) for name in ticket.masks)
total = sum(mask.numel() for mask in ticket.masks.values())
print(f"after training, {100 * pruned / total:.1f} % of the prunable weights are zero")
assert abs(100 * pruned / total - ticket.sparsity) < 0.1
hold.remove()  # from here on they may grow again
