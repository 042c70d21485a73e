"""Lesson 9: drawing a network: the same net as a diagram in words, and as a picture of its weights.

신경망 그리기
"""
import shutil
import subprocess

import torch
from pictures import BLUE, ORANGE, arguments, plt, save

args = arguments()
args.out.mkdir(parents=True, exist_ok=True)

# A net with one bend: it rises with slope 4.5 up to 0, then falls with slope 9 ... and a sigmoid.
net = torch.nn.Sequential(
    torch.nn.Linear(1, 2),
    torch.nn.ReLU(),
    torch.nn.Linear(2, 1),
    torch.nn.Sigmoid(),
)
net[0].weight.data = torch.tensor([[-1.0], [1.0]])
net[0].bias.data = torch.tensor([0.0, 0.0])
net[2].weight.data = torch.tensor([[-4.5, -9.0]])
net[2].bias.data = torch.tensor([4.5])
print(net)
for name, p in net.named_parameters():
    print(f"{name:10s}", tuple(p.shape), p.data.flatten().tolist())

# 1. In graphviz's language: every arrow is a line of text.
DIAGRAMS = {
    "every_step": """
        "x" -> "-x" [label="* (-1)"]
        "x" -> "x " [label="* 1"]
        "-x" -> "relu(-x)" [label="relu"]
        "x " -> "relu(x)" [label="relu"]
        "relu(-x)" -> "u" [label="* (-4.5)"]
        "relu(x)" -> "u" [label="* (-9.0)"]
        "u" -> "ŷ" [label="sigmoid"]
    """,
    "layers": """
        node [shape=circle]
        subgraph cluster_0 { style=filled; color=lightgrey; label="Layer 0"; "X" }
        subgraph cluster_1 { style=filled; color=lightgrey; label="Layer 1: relu"
                             "node1"; "node2" }
        subgraph cluster_2 { style=filled; color=lightgrey; label="Layer 2: sigmoid"; "ŷ" }
        "X" -> {"node1" "node2"} -> "ŷ"
    """,
    "digits": """
        splines=line
        subgraph cluster_0 { style=filled; color=lightgrey; label="Input Layer"
                             "x1"; "x2"; ".."; "x784" }
        subgraph cluster_1 { style=filled; color=lightgrey; label="Hidden Layer: relu"
                             "node1"; "node2"; "..."; "node32" }
        subgraph cluster_2 { style=filled; color=lightgrey; label="Output Layer: sigmoid"; "ŷ" }
        {"x1" "x2" ".." "x784"} -> {"node1" "node2" "..." "node32"} -> "ŷ"
    """,
}
for name, arrows in DIAGRAMS.items():
    source = args.out / f"09_{name}.gv"
    source.write_text(f'digraph {name} {{\n    rankdir="LR"\n{arrows}}}\n', encoding="utf-8")
    print("diagram:", source)
    if shutil.which("dot"):  # graphviz's own program, if it is installed
        subprocess.run(["dot", "-Tpng", source, "-o", source.with_suffix(".png")], check=True)
        print("picture:", source.with_suffix(".png"))


# 2. With matplotlib, from the weights themselves.
def rows(size):
    """Which nodes of a layer to draw: all, or the first three, dots (None), and the last."""
    return list(range(size)) if size <= 5 else [0, 1, 2, None, size - 1]


def draw(ax, net, names):
    """A column of nodes for each layer; the thicker an arrow, the larger its weight."""
    layers = [layer for layer in net if isinstance(layer, torch.nn.Linear)]
    columns = [rows(size) for size in [layers[0].in_features] + [n.out_features for n in layers]]
    tallest = max(len(column) for column in columns)

    def nodes(c):
        middle = (len(columns[c]) - 1) / 2
        return [(2 * c, middle - row, node) for row, node in enumerate(columns[c])]

    for c, layer in enumerate(layers):
        for x0, y0, i in nodes(c):
            for x1, y1, j in nodes(c + 1):
                if i is None or j is None:
                    continue
                weight = layer.weight[j, i].item()
                size = abs(weight) / layer.weight.abs().max().item()
                ax.plot([x0, x1], [y0, y1], color=BLUE if weight > 0 else ORANGE,
                        lw=0.5 + 3 * size, zorder=1)
                if layer.weight.numel() <= 4:
                    ax.text((x0 + x1) / 2, (y0 + y1) / 2, f"{weight:g}", ha="center", va="center",
                            bbox={"color": "white", "pad": 1})
    for c, name in enumerate(names):
        for x, y, node in nodes(c):
            if node is None:
                ax.text(x, y, "⋮", fontsize=18, ha="center", va="center")
            else:
                ax.plot(x, y, "o", ms=25, mfc="white", mec="black", mew=1.2, zorder=2)
                ax.text(x, y, node + 1, fontsize=9, ha="center", va="center", zorder=3)
        ax.text(2 * c, -tallest / 2 - 0.1, name, ha="center", va="top")
    ax.set(xlim=(-0.6, 2 * len(layers) + 0.6), ylim=(-tallest / 2 - 0.5, tallest / 2))
    ax.axis("off")


torch.manual_seed(43052)
reader = torch.nn.Sequential(
    torch.nn.Linear(28 * 28, 32),
    torch.nn.ReLU(),
    torch.nn.Linear(32, 1),
    torch.nn.Sigmoid(),
)
fig, (left, middle, right) = plt.subplots(1, 3, figsize=(12, 4), width_ratios=(1.1, 1, 1.2))
draw(left, net, ["$x$", "relu", "sigmoid"])
left.set_title("1 → 2 → 1, with its weights")
x = torch.linspace(-2, 2, 200).reshape(-1, 1)
middle.plot(x, net(x).data, color=BLUE)
middle.set(title="What it computes", xlabel="$x$", ylabel="$\\hat{y}$", ylim=(-0.05, 1.05))
draw(right, reader, ["pixels", "relu", "sigmoid"])
right.set_title("784 → 32 → 1, before training")
save(fig, args.out, "09_drawing_a_network.png")
