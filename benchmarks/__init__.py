"""Measurements beside peers and limits, one command each: `python -m benchmarks.NAME --help`.

Cost, in one run: `python -m benchmarks` (its `parts`, the `peers`, the `rows` of its table); one by
one: `reading`, `preparing`, `streaming` (out of an archive elsewhere, on a small disk), `loading`
(does a GPU wait?), `plain_loop` (what the training loop costs), `stages`, `grading`, `viewer`;
`growth` (is time linear in the number of studies, memory flat?); `scale` (measures nothing: what
all studies, and 100,000, would take, into docs/scale.md); `peak` memory. Accuracy:
`learning` (on held-out phantoms), `zero_shot` (on studies that no training used, and under
`perturbations`). What each choice is worth: `ablation` (the grader) and `transfer` (the released
run), both made of `variants`; `real_foramen` (the grader on real labels, beside `plain_cnn`, from
`t1_pictures`). On a GPU: `gpu`; without one: `memory` and `pretend`. How realistic the images are:
`phantom_vs_real`. What survives `damage`, kills, disks and clocks: `soak` (docs/soak.md).
"""
