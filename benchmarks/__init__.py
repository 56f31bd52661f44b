"""Measurements beside peers and limits, one command each: `python -m benchmarks.NAME --help`.

Cost: `reading`, `preparing`, `streaming` (out of an archive elsewhere, on a small disk), `loading`
(does a GPU wait?), `stages`, `grading`, `viewer`. Accuracy: `learning` (on held-out phantoms),
`zero_shot` (on studies that no training used, and under `perturbations`). What each choice is
worth: `ablation` (the grader) and `transfer` (the released run), both made of `variants`;
`real_foramen` (the grader on real labels, beside `plain_cnn`, from `t1_pictures`). On a GPU: `gpu`;
without one: `memory` and `pretend`. How realistic the images are: `phantom_vs_real`. What survives
`damage`: `soak`.
"""
