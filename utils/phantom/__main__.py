"""python -m utils.phantom --out DIR --studies N --seed S"""

import argparse

from utils.phantom import make_dataset

parser = argparse.ArgumentParser(prog="python -m utils.phantom", description="Write a phantom data set.")
parser.add_argument("--out", required=True, help="folder to write to; made if it is not there")
parser.add_argument("--studies", type=int, default=60, help="training studies")
parser.add_argument("--test-studies", type=int, default=8)
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--prevalence", choices=("real", "balanced"), default="balanced")
parser.add_argument("--jobs", type=int, default=2, help="processes")

if __name__ == "__main__":
    a = parser.parse_args()
    print(make_dataset(a.out, a.studies, a.seed, a.test_studies, a.prevalence, jobs=a.jobs))
