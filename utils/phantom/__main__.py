"""python -m utils.phantom --out DIR --studies N --seed S, or --sheet PICTURE"""

import argparse

from utils.phantom import CONTRASTS, OPENING, QUIRKS, SIZES, make_dataset

parser = argparse.ArgumentParser(prog="python -m utils.phantom", description="Write a phantom data set, or its contact sheet.")
parser.add_argument("--out", help="folder to write to; made if it is not there")
parser.add_argument("--sheet", help="write the contact sheet to this PNG")
parser.add_argument("--studies", type=int, default=60, help="training studies")
parser.add_argument("--test-studies", type=int, default=8)
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--prevalence", choices=("real", "balanced"), default="balanced")
parser.add_argument("--size", choices=tuple(SIZES), default="demo", help="256 and 192 px, or as varied as real ones")
parser.add_argument("--quirks", nargs="+", default=[], metavar="NAME", help=f"'all', or some of: {', '.join(QUIRKS)}")
parser.add_argument("--contrast", choices=tuple(CONTRASTS), default="clinical", help="how far tissues stray in brightness")
parser.add_argument("--grading", choices=tuple(OPENING), default="textbook", help="how far apart grades lie")
parser.add_argument("--jobs", type=int, default=2, help="processes")

if __name__ == "__main__":
    a = parser.parse_args()
    if not (a.out or a.sheet):
        parser.error("say where: --out DIR or --sheet PICTURE")
    if a.sheet:
        from utils.phantom.sheet import contact_sheet

        print(contact_sheet(a.sheet))
    if a.out:
        quirks = QUIRKS if a.quirks == ["all"] else tuple(a.quirks)
        how = a.prevalence, SIZES[a.size], quirks, a.jobs, a.contrast, a.grading
        print(make_dataset(a.out, a.studies, a.seed, a.test_studies, *how))
