#!/usr/bin/env bash
# torch 2.13.0: copy.deepcopy of an exported program's graph gives a placeholder called "input" the name "input_1", because
# "input" is also a Python builtin; the signature still says "input", and torch's verifier refuses the program made of both.
# Seen: "placeholders before: [..., 'input']", "after: [..., 'input_1']", "refused: SpecViolationError".
. "$(dirname "$0")/common.sh"
torch 2.13.0
packages numpy==2.4.6
"$python" -W ignore - <<'PYTHON'
import copy, sys
import torch


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 4)

    def forward(self, input):
        return self.layer(input)


def inputs(graph):
    return [node.name for node in graph.nodes if node.op == "placeholder"]


program = torch.export.export(Net(), (torch.ones(1, 4),))
graph = copy.deepcopy(program.graph)
print("placeholders before:", inputs(program.graph))
print("placeholders after:", inputs(graph))
module = torch.fx.GraphModule(program.graph_module, graph)
try:
    torch.export.ExportedProgram(
        root=module,
        graph=graph,
        graph_signature=program.graph_signature,
        state_dict=program.state_dict,
        range_constraints=program.range_constraints,
        module_call_graph=program.module_call_graph,
        example_inputs=program.example_inputs,
        constants=program.constants,
        verifiers=[program.verifier],
    )
except Exception as error:
    print("refused:", type(error).__name__, str(error).splitlines()[0][:120])
    sys.exit(0 if inputs(graph) != inputs(program.graph) else 1)
print("taken - the behaviour has changed")
sys.exit(1)
PYTHON
