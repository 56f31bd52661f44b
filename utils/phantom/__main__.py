"""python -m utils.phantom --out DIR --studies N --seed S, or --sheet IMAGE"""

import argparse

from utils import cli
from utils.phantom.anomalies import ANOMALIES
from utils.phantom.dataset import make_dataset
from utils.phantom.grades import OPENING
from utils.phantom.protocols import CONTRASTS
from utils.phantom.spec import SIZES, PhantomSpec

# Options whose defaults are those of PhantomSpec.
_AS_IN_SPEC = ("studies", "test_studies", "seed", "prevalence", "contrast", "grading")


def _arguments() -> argparse.Namespace:
    parser = cli.parser("utils.phantom", "Write a phantom data set, or its contact sheet.")
    parser.add_argument("--out", help="folder to write to; made if it is not there")
    parser.add_argument("--sheet", help="write the contact sheet to this PNG")
    parser.add_argument("--studies", type=int, help="training studies")
    parser.add_argument("--test-studies", type=int)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--prevalence", choices=("real", "balanced"))
    sizes = "256 and 192 px, or as varied as real ones"
    parser.add_argument("--size", choices=tuple(SIZES), default="demo", help=sizes)
    names = f"'all', or some of: {', '.join(ANOMALIES)}"
    parser.add_argument("--anomalies", nargs="+", default=[], metavar="NAME", help=names)
    jitter = "how far tissue contrasts vary"
    parser.add_argument("--contrast", choices=tuple(CONTRASTS), help=jitter)
    apart = "how far apart grades lie"
    parser.add_argument("--grading", choices=tuple(OPENING), help=apart)
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.set_defaults(**{name: getattr(PhantomSpec(), name) for name in _AS_IN_SPEC})
    a = parser.parse_args()
    if not (a.out or a.sheet):
        parser.error("say where: --out DIR or --sheet IMAGE")
    return a


def main() -> None:
    a = _arguments()
    if a.sheet:
        from utils.phantom.sheet import contact_sheet  # needs matplotlib

        print(contact_sheet(a.sheet))
    if a.out:
        anomalies = ANOMALIES if a.anomalies == ["all"] else tuple(a.anomalies)
        spec = PhantomSpec(
            studies=a.studies,
            seed=a.seed,
            test_studies=a.test_studies,
            prevalence=a.prevalence,
            size=SIZES[a.size],
            anomalies=anomalies,
            contrast=a.contrast,
            grading=a.grading,
        )
        print(make_dataset(a.out, spec, jobs=a.jobs))


if __name__ == "__main__":
    cli.run(main)
